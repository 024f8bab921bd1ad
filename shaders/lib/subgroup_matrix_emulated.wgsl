// subgroup_matrix.wgsl in plain WGSL, for adapters without subgroup matrices: what the shaders do around them can so be
// tested everywhere. Operands stay in their tiles until they are multiplied; a lane holds every LANES-th of the sums.
// Constants: MATRIX_M, MATRIX_N, MATRIX_K (multiples of 8), LANES.

const SUMS_PER_LANE = MATRIX_M * MATRIX_N / LANES;

// Where an operand's first element lies, and how far it is to the next row and column; all in float16.
struct Left {
  at: i32,
  row: i32,
  column: i32,
}

struct Right {
  at: i32,
  row: i32,
  column: i32,
}

alias Sums = array<f32, SUMS_PER_LANE>;

fn left_of_rows(at: i32) -> Left {
  return Left(at * 8, A_STRIDE * 8, 1);
}

fn left_of_columns(at: i32) -> Left {
  return Left(at * 8, 1, A_STRIDE * 8);
}

fn right_of_rows(at: i32) -> Right {
  return Right(at * 8, B_STRIDE * 8, 1);
}

fn right_of_columns(at: i32) -> Right {
  return Right(at * 8, 1, B_STRIDE * 8);
}

fn multiply_add(left: Left, right: Right, sums: Sums, lane: u32) -> Sums {
  var result = sums;
  // Bounds that only look as if they varied: software adapters would unroll the loops and compile for minutes.
  let count = select(0, SUMS_PER_LANE, lane < LANES);
  let k_count = select(0, MATRIX_K, lane < LANES);
  for (var i = 0; i < count; i++) {
    let row = (i * LANES + i32(lane)) / MATRIX_N;
    let column = (i * LANES + i32(lane)) % MATRIX_N;
    var sum = result[i];
    for (var k = 0; k < k_count; k++) {
      let a = left.at + row * left.row + k * left.column;
      let b = right.at + k * right.row + column * right.column;
      sum += half_of(tiles[a / 8][a / 2 % 4], a) * half_of(tiles[b / 8][b / 2 % 4], b);
    }
    result[i] = sum;
  }
  return result;
}

// The one of two float16 that has the index i in its array.
fn half_of(pair: u32, i: i32) -> f32 {
  return unpack2x16float(pair >> u32(i % 2 * 16)).x;
}

fn store_sums(at: i32, sums: Sums, lane: u32) {
  var values = sums;
  let count = select(0, SUMS_PER_LANE, lane < LANES);
  for (var i = 0; i < count; i++) {
    let index = i * LANES + i32(lane);
    let column = index % MATRIX_N;
    tiles[at + index / MATRIX_N * SUMS_STRIDE + column / 4][column % 4] = bitcast<u32>(values[i]);
  }
}
