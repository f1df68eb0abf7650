// Heat over a picture: cells of the model's grid, stretched over it, warm where a number is above zero, cold below.

const WARM = [255, 122, 30];
const COLD = [60, 130, 255];
const ROWS = ["upper", "middle", "lower"];
const COLUMNS = ["left", "centre", "right"];

export function draw(canvas, image, cells, side) {
  const box = image.getBoundingClientRect();
  const around = canvas.parentElement.getBoundingClientRect();
  canvas.width = side;
  canvas.height = side;
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(side, side);
  const most = Math.max(1e-9, ...cells.map(Math.abs));
  cells.forEach((cell, at) => {
    const colour = cell >= 0 ? WARM : COLD;
    pixels.data.set([...colour, Math.round(200 * Math.abs(cell) / most)], 4 * at);
  });
  pen.putImageData(pixels, 0, 0);
  Object.assign(canvas.style, {
    left: `${box.left - around.left}px`, top: `${box.top - around.top}px`, width: `${box.width}px`, height: `${box.height}px`,
  });
  canvas.classList.add("on");
}

export function clear(canvas) {
  canvas?.classList.remove("on");
}

// The same in words: the ninth of the picture where the largest numbers are.
export function place(cells, side) {
  const sums = new Map();
  cells.forEach((cell, at) => {
    const row = Math.min(2, Math.floor((3 * (Math.floor(at / side) + 0.5)) / side));
    const column = Math.min(2, Math.floor((3 * ((at % side) + 0.5)) / side));
    const name = row === 1 && column === 1 ? "the centre" : `${ROWS[row]} ${COLUMNS[column]}`;
    sums.set(name, (sums.get(name) || 0) + cell);
  });
  return [...sums].sort((one, other) => other[1] - one[1])[0][0];
}
