// Justified rows: pictures in their own shape, every row as wide as the page and about as high as the others.

const GAP = 8;

export function lay(grid) {
  const width = grid.clientWidth;
  if (!width) return;
  const wanted = width < 600 ? 150 : 220;
  let row = [];
  let ratios = 0;
  for (const tile of grid.children) {
    const ratio = shape(tile);
    row.push([tile, ratio]);
    ratios += ratio;
    if (ratios * wanted + GAP * (row.length - 1) >= width) {
      place(row, (width - GAP * (row.length - 1)) / ratios, width);
      row = [];
      ratios = 0;
    }
  }
  place(row, wanted, width);
  grid.classList.add("laid");
}

function shape(tile) {
  const { width, height } = tile.querySelector("img");
  return Math.min(4, Math.max(0.4, Number(tile.dataset.ratio) || width / height || 4 / 3));
}

function place(row, height, width) {
  let left = width;
  row.forEach(([tile, ratio], at) => {
    const own = Math.max(40, Math.min(left, Math.floor(ratio * height)));
    tile.style.width = `${own}px`;
    tile.querySelector(".frame").style.height = `${Math.floor(height)}px`;
    left -= own + (at < row.length - 1 ? GAP : 0);
  });
}
