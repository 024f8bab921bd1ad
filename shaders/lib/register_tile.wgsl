// A workgroup's tile of a matrix product a * b, in the registers of LANES_M by LANES_N invocations. Each has blocks of 4 by
// 4 elements, LANES_M blocks apart along M and LANES_N along N: block (i, j) of (lane_m, lane_n) begins at row
// 4 * (lane_m + i * LANES_M) and column 4 * (lane_n + j * LANES_N) of the tile, so that lanes side by side read and write
// side by side.
// Uses a_tile and b_tile, arrays of vec4f in workgroup memory: a slice of the sum, [k][A_STRIDE] with four rows of a an
// element, [k][B_STRIDE] with four columns of b.
// Constants: LANES_M, LANES_N, THREAD_M, THREAD_N (4 or 8).

// What one invocation has: [THREAD_M][THREAD_N / 4], four columns an element.
alias RegisterTile = array<vec4f, THREAD_M * (THREAD_N / 4)>;

// acc += a * b for the first `depth` columns of a, rows of b, that the tiles hold.
fn multiply_slice(acc: ptr<function, RegisterTile>, depth: i32, lane_m: i32, lane_n: i32) {
  for (var k = 0; k < depth; k++) {
    #unroll j THREAD_N / 4
    let b_$j = b_tile[k * B_STRIDE + lane_n + $j * LANES_N];
    #end
    #unroll i THREAD_M / 4
    let a_$i = a_tile[k * A_STRIDE + lane_m + $i * LANES_M];
    #unroll r 4
    #unroll j THREAD_N / 4
    (*acc)[($i * 4 + $r) * (THREAD_N / 4) + $j] += a_$i[$r] * b_$j;
    #end
    #end
    #end
  }
}
