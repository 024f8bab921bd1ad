// Winograd's transforms F(OUT_TILE, KERNEL) of one line: y = A^T [(G g) . (B^T d)] are OUT_TILE pixels y of a filter g of
// KERNEL taps over IN_TILE = OUT_TILE + KERNEL - 1 pixels d. Both polynomials are evaluated at IN_TILE points, multiplied
// there, and the product is interpolated (Toom-Cook, here transposed). With V_k the powers 0 .. k-1 of the points:
//   A = V_OUT_TILE,  G = S V_KERNEL,  and for 4 points and 6 points, of which the last is infinity,
//
//   point  B^T             S    V         point  B^T                   S     V
//    0   [ 1  0 -1  0 ]    1  [ 1  0 .]    0   [ 4  0 -5  0  1  0 ]   1/4  [ 1  0  0 .]
//    1   [ 0  1  1  0 ]   1/2 [ 1  1 .]    1   [ 0  4  4 -1 -1  0 ]   1/6  [ 1  1  1 .]
//   -1   [ 0 -1  1  0 ]   1/2 [ 1 -1 .]   -1   [ 0 -4  4  1 -1  0 ]   1/6  [ 1 -1  1 .]
//   inf  [ 0 -1  0  1 ]    1  [ 0  0 1]    2   [ 0 -2 -1  2  1  0 ]   1/24 [ 1  2  4 .]
//                                         -2   [ 0  2 -1 -2  1  0 ]   1/24 [ 1 -2  4 .]
//                                         inf  [ 0  4  0 -5  0  1 ]    1   [ 0  0  0 1]
// Reference: Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4; Winograd 1980, "Arithmetic Complexity of
// Computations". src/reference/conv2d_winograd.ts derives the matrices from the points.
// Constants: Value (f32 or vec4f), IN_TILE (4 or 6).

// Pixels, taps or points; 0 behind their end.
alias Line = array<Value, 6>;

// B^T d.
fn interpolate_transposed(d: Line) -> Line {
  if (IN_TILE == 4) {
    return Line(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1], Value(), Value());
  }
  let even_1 = 4.0 * d[2] - d[4];
  let odd_1 = 4.0 * d[1] - d[3];
  let even_2 = d[4] - d[2];
  let odd_2 = 2.0 * (d[3] - d[1]);
  return Line(
    4.0 * d[0] - 5.0 * d[2] + d[4],
    even_1 + odd_1,
    even_1 - odd_1,
    even_2 + odd_2,
    even_2 - odd_2,
    4.0 * d[1] - 5.0 * d[3] + d[5],
  );
}

// V c of the polynomial with `count` coefficients c.
fn evaluate(c: Line, count: i32) -> Line {
  let even_1 = c[0] + c[2] + c[4];
  let odd_1 = c[1] + c[3];
  if (IN_TILE == 4) {
    return Line(c[0], even_1 + odd_1, even_1 - odd_1, c[count - 1], Value(), Value());
  }
  let even_2 = c[0] + 4.0 * c[2] + 16.0 * c[4];
  let odd_2 = 2.0 * c[1] + 8.0 * c[3];
  return Line(c[0], even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2, c[count - 1]);
}

// V^T m with `count` results.
fn evaluate_transposed(m: Line, count: i32) -> Line {
  let even_1 = m[1] + m[2];
  let odd_1 = m[1] - m[2];
  var c = Line(m[0] + even_1, odd_1, even_1, odd_1, even_1, Value());
  if (IN_TILE == 6) {
    let even_2 = m[3] + m[4];
    let odd_2 = m[3] - m[4];
    c[0] += even_2;
    c[1] += 2.0 * odd_2;
    c[2] += 4.0 * even_2;
    c[3] += 8.0 * odd_2;
    c[4] += 16.0 * even_2;
  }
  c[count - 1] += m[IN_TILE - 1];
  return c;
}

// S m.
fn scale(m: Line) -> Line {
  if (IN_TILE == 4) {
    return Line(m[0], 0.5 * m[1], 0.5 * m[2], m[3], Value(), Value());
  }
  const sixth = 1.0 / 6.0;
  return Line(0.25 * m[0], sixth * m[1], sixth * m[2], (sixth / 4.0) * m[3], (sixth / 4.0) * m[4], m[5]);
}
