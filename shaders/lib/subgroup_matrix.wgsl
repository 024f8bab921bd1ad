// Products of tiles in workgroup memory by subgroup matrices: matrices that the lanes of a subgroup hold together, for
// which GPUs have units of their own (tensor cores). Operands are float16, sums float32.
// A shader that uses them declares `tiles`, an array of vec4u. An element holds eight float16 of an operand, of which
// A_STRIDE and B_STRIDE go to a row, or four sums, SUMS_STRIDE to a row. Offsets (`at`) and strides count elements.
// All invocations call these functions, with the same arguments within a subgroup; the barriers are the caller's.
// subgroup_matrix_emulated.wgsl is the same in plain WGSL.
// Constants: MATRIX_M, MATRIX_N, MATRIX_K (multiples of 8) as the adapter lists them.
// Reference: https://github.com/gpuweb/gpuweb/blob/main/proposals/subgroup-matrix.md
enable chromium_experimental_subgroup_matrix;

// MATRIX_M rows by MATRIX_K columns, MATRIX_K by MATRIX_N, MATRIX_M by MATRIX_N.
alias Left = subgroup_matrix_left<f16, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<f16, MATRIX_N, MATRIX_K>;
alias Sums = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

// A row of the tile is a row of the matrix.
fn left_of_rows(at: i32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(&tiles, at, A_STRIDE);
}

// A row of the tile is a column of the matrix.
fn left_of_columns(at: i32) -> Left {
  return subgroupMatrixLoad<Left, col_major>(&tiles, at, A_STRIDE);
}

fn right_of_rows(at: i32) -> Right {
  return subgroupMatrixLoad<Right, row_major>(&tiles, at, B_STRIDE);
}

fn right_of_columns(at: i32) -> Right {
  return subgroupMatrixLoad<Right, col_major>(&tiles, at, B_STRIDE);
}

// sums + left * right. The emulation asks for the lane.
fn multiply_add(left: Left, right: Right, sums: Sums, lane: u32) -> Sums {
  return subgroupMatrixMultiplyAccumulate(left, right, sums);
}

// Writes the sums to the tile, row by row (=).
fn store_sums(at: i32, sums: Sums, lane: u32) {
  subgroupMatrixStore<row_major>(&tiles, at, sums, SUMS_STRIDE);
}
