// A workgroup's tile of a matrix product by subgroup matrices: SUBGROUPS_M by SUBGROUPS_N subgroups compute ROWS by COLS
// matrices of it each. To be used with subgroup_matrix.wgsl.
// A shader that uses this declares
// - WG_SIZE, TILE_N, and `tiles` with at least SUMS_SIZE elements: first a slice of both operands, then the sums;
// - left_at(row, k) and right_at(k, column): the operands' matrices that begin there in the tile and the slice;
// - store4(m, n, value): what becomes of four neighbours of a row of the product.
// Constants: SUBGROUPS_M, SUBGROUPS_N, ROWS, COLS, TILE_K, MATRIX_M, MATRIX_N, MATRIX_K.

// The sums of a row of matrices of each subgroup, [SUBGROUPS_M * MATRIX_M][TILE_N], four float32 an element.
const SUMS_STRIDE = TILE_N / 4 + 1;
const SUMS_SIZE = SUBGROUPS_M * MATRIX_M * SUMS_STRIDE;

// What one subgroup has, [ROWS][COLS].
alias SubgroupSums = array<Sums, ROWS * COLS>;

// The row and column of the tile at which the matrices of a subgroup begin.
fn part_of(subgroup_id: u32) -> vec2i {
  let id = i32(subgroup_id);
  return vec2i(id / SUBGROUPS_N * ROWS * MATRIX_M, id % SUBGROUPS_N * COLS * MATRIX_N);
}

// sums += left * right for the slice that the tiles hold.
fn multiply_slice(sums: ptr<function, SubgroupSums>, part: vec2i, lane: u32) {
  for (var k = 0; k < TILE_K; k += MATRIX_K) {
    #unroll i ROWS
    let left_$i = left_at(part.x + $i * MATRIX_M, k);
    #end
    #unroll j COLS
    let right_$j = right_at(k, part.y + $j * MATRIX_N);
    #end
    #unroll i ROWS
    #unroll j COLS
    (*sums)[$i * COLS + $j] = multiply_add(left_$i, right_$j, (*sums)[$i * COLS + $j], lane);
    #end
    #end
  }
}

// Stores the tile, which begins at row and column `first` of the product, as far as that goes, before `end`. Lanes do not
// know which of the sums they hold: these go through workgroup memory, a row of matrices at a time.
fn store_tile(
  sums: ptr<function, SubgroupSums>,
  part: vec2i,
  lane: u32,
  invocation: i32,
  first: vec2i,
  end: vec2i,
) {
  #unroll i ROWS
  #unroll j COLS
  store_sums(part.x / ROWS * SUMS_STRIDE + (part.y + $j * MATRIX_N) / 4, (*sums)[$i * COLS + $j], lane);
  #end
  workgroupBarrier();
  for (var e = invocation; e < SUBGROUPS_M * MATRIX_M * (TILE_N / 4); e += WG_SIZE) {
    let row = e / (TILE_N / 4);
    let column = e % (TILE_N / 4) * 4;
    let m = first.x + (row / MATRIX_M * ROWS + $i) * MATRIX_M + row % MATRIX_M;
    let n = first.y + column;
    if (m < end.x && n < end.y) {
      store4(m, n, bitcast<vec4f>(tiles[row * SUMS_STRIDE + column / 4]));
    }
  }
  workgroupBarrier();
  #end
}
