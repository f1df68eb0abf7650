// The query as a board: the same sums as in board.py, so that hits can be ordered again without the server.
//
//   v = unit(unit(unit(unit(sum of w_t p_t) + w_I I) + T) + V),   cosine(x) = sum over parts of c_t (x . p_t)
//
// `gram` holds the products of the parts with each other, `hit.parts` those with a picture.

export function coefficients(terms, gram) {
  let total = terms.map(() => 0);
  for (const kind of ["word", "picture", "taught", "votes"]) {
    const own = terms.map((term) => (term.kind === kind ? term.weight : 0));
    if (!own.some(Boolean)) continue;
    total = total.map((value, at) => value + own[at]);
    const length = Math.sqrt(Math.max(0, product(total, gram)));
    if (length < 1e-6) return null; // the terms cancel each other out
    total = total.map((value) => value / length);
  }
  return total;
}

function product(c, gram) {
  let sum = 0;
  for (let i = 0; i < c.length; i++) for (let j = 0; j < c.length; j++) sum += c[i] * gram[i][j] * c[j];
  return sum;
}

export function cosine(c, parts) {
  return parts.reduce((sum, part, at) => sum + part * c[at], 0);
}

// A cosine as a score: by a logistic curve (slope, offset), or by straight lines between knots (cosine, share).
export function calibrate(value, curve) {
  if (!curve) return value;
  if (!Array.isArray(curve[0])) return 1 / (1 + Math.exp(-(curve[0] * value + curve[1])));
  const after = curve.findIndex(([at]) => at >= value);
  if (after <= 0) return after < 0 ? curve.at(-1)[1] : curve[0][1];
  const [[x0, y0], [x1, y1]] = [curve[after - 1], curve[after]];
  return y0 + ((y1 - y0) * (value - x0)) / (x1 - x0);
}

// The words as they are typed, with their weights: what stands in the field and in the address.
export function typed(terms) {
  return terms.filter((term) => term.kind === "word").map(({ word, weight }) => {
    const size = Math.abs(weight);
    return (weight < 0 ? "-" : "") + (size === 1 ? "" : `${Number(size.toFixed(2))}*`) + word;
  }).join(" ");
}
