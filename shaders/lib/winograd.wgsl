// Winograd's transforms F(OUT_TILE, KERNEL) of one line: y = A^T [(G g) . (B^T d)] are OUT_TILE pixels y of a filter g of
// KERNEL taps over IN_TILE = OUT_TILE + KERNEL - 1 pixels d. Both polynomials are evaluated at IN_TILE points, multiplied
// there, and the product is interpolated (Toom-Cook, here transposed). With V_k the powers 0 .. k-1 of the points:
//   A = V_OUT_TILE,  G = S V_KERNEL,  and for 4 points and 6 points, of which the last is infinity,
//
//   point  B^T             S    V         point  B^T                             S      V
//    0   [ 1  0 -1  0 ]    1  [ 1  0 .]    0    [ 1  3/2 -2   -3/2  1    0 ]     1      [ 1  0    0   .]
//    1   [ 0  1  1  0 ]   1/2 [ 1  1 .]    1    [ 0  1    5/2  1/2 -1    0 ]     1/3    [ 1  1    1   .]
//   -1   [ 0 -1  1  0 ]   1/2 [ 1 -1 .]   -1    [ 0  1    1/2 -5/2  1    0 ]     1/3    [ 1 -1    1   .]
//   inf  [ 0 -1  0  1 ]    1  [ 0  0 1]    2    [ 0 -1/2 -1    1/2  1    0 ]     1/15   [ 1  2    4   .]
//                                         -1/2  [ 0 -2    1    2   -1    0 ]     16/15  [ 1 -1/2  1/4 .]
//                                          inf  [ 0  1    3/2 -2   -3/2  1 ]     1      [ 0  0    0  1]
//
// and for 8 points, of which 1, 2 and 1/2 bring two of opposite signs each,
//
//   point  B^T                                        S      V
//    0     [ 1  0   -21/4  0     21/4  0     -1  0 ]  1      [ 1  0   0    0    .]
//    1     [ 0 -1   -1     17/4  17/4 -1     -1  0 ]  2/9    [ 1  1   1    1    .]
//    2     [ 0  1/2  1/4  -5/2  -5/4   2      1  0 ]  1/90   [ 1  2   4    8    .]
//    1/2   [ 0  2    4    -5/2  -5     1/2    1  0 ]  32/45  [ 1  1/2 1/4  1/8  .]
//    inf   [ 0 -1    0     21/4  0    -21/4   0  1 ]  1      [ 0  0   0    0   1]
//
// Of the points with small terms these have the smallest roundings (docs/numerics.md).
// Reference: Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4; Winograd 1980, "Arithmetic Complexity of
// Computations". src/reference/conv2d_winograd.ts derives the matrices from the points.
// Constants: IN_TILE (4, 6 or 8).

// Pixels, taps or points; taps are 0 behind their end, where the others are not read.
alias Line = array<f32, 8>;

// B^T d.
fn interpolate_transposed(d: Line) -> Line {
  if (IN_TILE == 4) {
    return Line(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1], 0.0, 0.0, 0.0, 0.0);
  }
  if (IN_TILE == 6) {
    let even = d[4] - d[2];
    let odd = d[3] - d[1];
    return Line(
      d[0] + 1.5 * (d[1] - d[3]) - 2.0 * d[2] + d[4],
      d[1] + 2.5 * d[2] + 0.5 * d[3] - d[4],
      d[1] + 0.5 * d[2] - 2.5 * d[3] + d[4],
      even + 0.5 * odd,
      2.0 * odd - even,
      d[1] + 1.5 * (d[2] - d[4]) - 2.0 * d[3] + d[5],
      0.0,
      0.0,
    );
  }
  let even_1 = 4.25 * d[4] - d[2] - d[6];
  let odd_1 = 4.25 * d[3] - d[1] - d[5];
  let even_2 = 0.25 * d[2] - 1.25 * d[4] + d[6];
  let odd_2 = 0.5 * d[1] - 2.5 * d[3] + 2.0 * d[5];
  let even_half = 4.0 * d[2] - 5.0 * d[4] + d[6];
  let odd_half = 2.0 * d[1] - 2.5 * d[3] + 0.5 * d[5];
  return Line(
    d[0] - d[6] + 5.25 * (d[4] - d[2]),
    even_1 + odd_1,
    even_1 - odd_1,
    even_2 + odd_2,
    even_2 - odd_2,
    even_half + odd_half,
    even_half - odd_half,
    d[7] - d[1] + 5.25 * (d[3] - d[5]),
  );
}

// V c of the polynomial with `count` coefficients c.
fn evaluate(c: Line, count: i32) -> Line {
  let even_1 = c[0] + c[2] + c[4];
  let odd_1 = c[1] + c[3];
  let even_2 = c[0] + 4.0 * c[2] + 16.0 * c[4];
  let odd_2 = 2.0 * c[1] + 8.0 * c[3];
  let even_half = c[0] + 0.25 * c[2] + 0.0625 * c[4];
  let odd_half = 0.5 * c[1] + 0.125 * c[3];
  var m = Line(
    c[0],
    even_1 + odd_1,
    even_1 - odd_1,
    even_2 + odd_2,
    even_2 - odd_2,
    even_half + odd_half,
    even_half - odd_half,
    0.0,
  );
  if (IN_TILE == 6) {
    m[4] = even_half - odd_half; // at -1/2
  }
  m[IN_TILE - 1] = c[count - 1];
  return m;
}

// V^T m with `count` results.
fn evaluate_transposed(m: Line, count: i32) -> Line {
  let even_1 = m[1] + m[2];
  let odd_1 = m[1] - m[2];
  var c = Line(m[0] + even_1, odd_1, even_1, odd_1, even_1, 0.0, 0.0, 0.0);
  if (IN_TILE == 6) {
    c[0] += m[3] + m[4];
    c[1] += 2.0 * m[3] - 0.5 * m[4];
    c[2] += 4.0 * m[3] + 0.25 * m[4];
    c[3] += 8.0 * m[3] - 0.125 * m[4];
    c[4] += 16.0 * m[3] + 0.0625 * m[4];
  }
  if (IN_TILE == 8) {
    let even_2 = m[3] + m[4];
    let odd_2 = m[3] - m[4];
    let even_half = m[5] + m[6];
    let odd_half = m[5] - m[6];
    c[0] += even_2 + even_half;
    c[1] += 2.0 * odd_2 + 0.5 * odd_half;
    c[2] += 4.0 * even_2 + 0.25 * even_half;
    c[3] += 8.0 * odd_2 + 0.125 * odd_half;
    c[4] += 16.0 * even_2 + 0.0625 * even_half;
  }
  c[count - 1] += m[IN_TILE - 1];
  return c;
}

// S m.
fn scale(m: Line) -> Line {
  var scales = array(1.0, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0);
  if (IN_TILE == 6) {
    scales = array(1.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 15.0, 16.0 / 15.0, 1.0, 0.0, 0.0);
  } else if (IN_TILE == 8) {
    scales = array(1.0, 2.0 / 9.0, 2.0 / 9.0, 1.0 / 90.0, 1.0 / 90.0, 32.0 / 45.0, 32.0 / 45.0, 1.0);
  }
  var scaled: Line;
  #unroll i IN_TILE
  scaled[$i] = scales[$i] * m[$i];
  #end
  return scaled;
}
