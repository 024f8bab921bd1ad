// Two products c = a * b of one subgroup matrix each, of whole numbers that float16 and float32 hold exactly: what an
// experiment of Dawn's and a driver make of them is compared with the host's before anything relies on it. The first
// product reads its operands as rows, the second as columns.
// a[m,k] = (5 m + 3 k) mod 7 - 3, b[k,n] = (2 k + 3 n) mod 5 - 2, c: [2][16][16] float32, of which MATRIX_M rows and
// MATRIX_N columns count, as bits. One workgroup of one subgroup. Writes c (=).
// Constants: LANES, MATRIX_M, MATRIX_N, MATRIX_K (8 or 16).
// lib: subgroup_matrix

enable f16, subgroups;

const A_STRIDE = 2;
const B_STRIDE = 2;
const SUMS_STRIDE = 4;

@group(0) @binding(0) var<storage, read_write> c: array<vec4u, 128>;

// a and b in rows, a and b in columns, [4][16][16]; then the products, [2][16][16].
var<workgroup> tiles: array<vec4u, 4 * 32 + 2 * 64>;

fn operand(which: i32, row: i32, column: i32) -> f32 {
  switch which {
    case 0: { return f32((5 * row + 3 * column) % 7 - 3); }
    case 1: { return f32((2 * row + 3 * column) % 5 - 2); }
    case 2: { return f32((5 * column + 3 * row) % 7 - 3); }
    default: { return f32((2 * column + 3 * row) % 5 - 2); }
  }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(local_invocation_index) local_index: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  for (var e = i32(local_index); e < 4 * 32; e += LANES) {
    let row = e % 32 / 2;
    let column = e % 2 * 8;
    for (var i = 0; i < 4; i++) {
      let low = operand(e / 32, row, column + 2 * i);
      let high = operand(e / 32, row, column + 2 * i + 1);
      tiles[e][i] = pack2x16float(vec2f(low, high));
    }
  }
  workgroupBarrier();
  store_sums(128, multiply_add(left_of_rows(0), right_of_rows(32), Sums(), lane), lane);
  store_sums(192, multiply_add(left_of_columns(64), right_of_columns(96), Sums(), lane), lane);
  workgroupBarrier();
  for (var e = i32(local_index); e < 2 * 64; e += LANES) {
    c[e] = tiles[128 + e];
  }
}
