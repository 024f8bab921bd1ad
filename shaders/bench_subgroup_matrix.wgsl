// The arithmetic ceiling of units for matrix products (tensor cores): every subgroup adds the products of ROWS left and
// COLS right subgroup matrices, float16 in registers, to ROWS * COLS independent sums, float32 in registers, over and over;
// no memory is touched until the end.
// y: [workgroups, SUBGROUPS] float32, all elements of the subgroup's sums added up, so that no compiler leaves the work out.
// Writes y (=).
// Operations: 2 (multiply, add) * MATRIX_M * MATRIX_N * MATRIX_K * ROWS * COLS * turns a subgroup. Every element of every
// operand is `one`, unknown to the compiler; with 1, y counts the multiply-adds. Each matrix comes from memory of its own,
// since a compiler may make one of two that it knows to be the same.
// Constants: LANES, SUBGROUPS, ROWS, COLS, MATRIX_M, MATRIX_N, MATRIX_K (8 or 16).
// lib: subgroup_matrix

enable f16, subgroups;

const WG_SIZE = LANES * SUBGROUPS;
const A_STRIDE = MATRIX_K / 8;
const B_STRIDE = COLS * MATRIX_N / 8;
const A_SIZE = ROWS * MATRIX_M * A_STRIDE;
const B_SIZE = MATRIX_K * B_STRIDE;
const SUMS_STRIDE = MATRIX_N / 4;
const SUMS_SIZE = MATRIX_M * SUMS_STRIDE;

struct Params {
  turns: u32,
  one: f32,
}

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

// Left operands [ROWS * MATRIX_M][MATRIX_K], right operands [MATRIX_K][COLS * MATRIX_N], eight float16 an element; then a
// matrix of sums for each subgroup, four float32 an element.
var<workgroup> tiles: array<vec4u, A_SIZE + B_SIZE + SUBGROUPS * SUMS_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(local_invocation_index) local_index: u32,
  @builtin(subgroup_id) subgroup_id: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  for (var e = i32(local_index); e < A_SIZE + B_SIZE; e += WG_SIZE) {
    tiles[e] = vec4u(pack2x16float(vec2f(params.one)));
  }
  workgroupBarrier();
  #unroll i ROWS
  let left_$i = left_of_rows($i * MATRIX_M * A_STRIDE);
  #end
  #unroll j COLS
  let right_$j = right_of_rows(A_SIZE + $j * MATRIX_N / 8);
  #end
  var sums: array<Sums, ROWS * COLS>;
  for (var turn = 0u; turn < params.turns; turn++) {
    #unroll i ROWS
    #unroll j COLS
    sums[$i * COLS + $j] = multiply_add(left_$i, right_$j, sums[$i * COLS + $j], lane);
    #end
    #end
  }
  // Lanes do not know which of the sums they hold: these go through workgroup memory, a matrix at a time.
  let at = A_SIZE + B_SIZE + i32(subgroup_id) * SUMS_SIZE;
  var total = 0.0;
  #unroll i ROWS
  #unroll j COLS
  store_sums(at, sums[$i * COLS + $j], lane);
  workgroupBarrier();
  for (var e = i32(lane); e < SUMS_SIZE; e += LANES) {
    total += dot(bitcast<vec4f>(tiles[at + e]), vec4f(1.0));
  }
  workgroupBarrier();
  #end
  #end
  let counted = subgroupAdd(total);
  if (lane == 0) {
    y[workgroup_id.x * SUBGROUPS + subgroup_id] = counted;
  }
}
