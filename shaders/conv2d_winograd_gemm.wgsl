// Winograd convolution F(2x2,3x3), the products for GPUs: 16 matrix products c[i,j] = sum over q of op(a)[i,q] * b[q,j], one
// for each point of the transformed tiles, in one dispatch.
// a: [16][m,k], or [16][k,m] with TRANSPOSE_A, b: [16][k,n], c: [splits][16][m,n], partial sums over `kPerSplit` of k, all in
// vec4f; aPoint, bPoint, cPoint elements lie from one point to the next. n is a multiple of 4, and so is the last axis of a.
// A workgroup computes a tile of TILE_M x TILE_N of one product, an invocation THREAD_M x THREAD_N of it in registers.
// Writes c (=), or (+=) with ACCUMULATE.
// The scheme: https://siboehm.com/articles/22/CUDA-MMM
// Constants: LANES_M, LANES_N, THREAD_M, THREAD_N (4 or 8), TILE_K.
// lib: index

override TRANSPOSE_A: bool = false;
override ACCUMULATE: bool = false;

const WG_SIZE = LANES_M * LANES_N;
const TILE_M = LANES_M * THREAD_M;
const TILE_N = LANES_N * THREAD_N;
const ROWS4 = TILE_M / 4;
const COLS4 = TILE_N / 4;
const K4 = TILE_K / 4;
// One vec4 more than a row needs, so that the lanes that write a column do not all meet in the same banks.
const A_STRIDE = ROWS4 + 1;

struct Params {
  m: i32,
  n: i32,
  k: i32,
  kPerSplit: i32,
  splits: i32,
  aPoint: i32,
  bPoint: i32,
  cPoint: i32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

// [TILE_K][TILE_M / 4] and [TILE_K][TILE_N / 4].
var<workgroup> a_tile: array<vec4f, TILE_K * A_STRIDE>;
var<workgroup> b_tile: array<vec4f, TILE_K * COLS4>;

// Four neighbours of a row of the matrix as it is stored, zeros past its last row and column.
fn a_at(start: i32, row: i32, column: i32) -> vec4f {
  let rows = select(params.m, params.k, TRANSPOSE_A);
  let columns = select(params.k, params.m, TRANSPOSE_A);
  let inside = row < rows && column < columns;
  return select(vec4f(), a[select(0, (start + row * columns + column) / 4, inside)], inside);
}

fn b_at(start: i32, row: i32, column: i32) -> vec4f {
  let inside = row < params.k && column < params.n;
  return select(vec4f(), b[select(0, (start + row * params.n + column) / 4, inside)], inside);
}

// Lanes side by side read neighbours of a row.
fn load_a(lane: i32, start: i32, i0: i32, k0: i32) {
  if (TRANSPOSE_A) {
    for (var slot = lane; slot < TILE_K * ROWS4; slot += WG_SIZE) {
      let q = slot / ROWS4;
      a_tile[q * A_STRIDE + slot % ROWS4] = a_at(start, k0 + q, i0 + slot % ROWS4 * 4);
    }
  } else {
    for (var slot = lane; slot < K4 * ROWS4; slot += WG_SIZE) {
      let q = slot % K4 * 4;
      let i = i0 + slot / K4 * 4;
      let columns = transpose(mat4x4f(
        a_at(start, i, k0 + q), a_at(start, i + 1, k0 + q), a_at(start, i + 2, k0 + q), a_at(start, i + 3, k0 + q),
      ));
      #unroll j 4
      a_tile[(q + $j) * A_STRIDE + slot / K4] = columns[$j];
      #end
    }
  }
}

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let tiles_m = (p.m + TILE_M - 1) / TILE_M;
  let tiles_n = (p.n + TILE_N - 1) / TILE_N;
  let tile = i32(workgroup_index(workgroup_id, num_workgroups));
  let block = tile / tiles_n / tiles_m; // split * 16 + point
  let split = block / 16;
  if (split >= p.splits) {
    return;
  }
  let i0 = tile / tiles_n % tiles_m * TILE_M;
  let j0 = tile % tiles_n * TILE_N;
  let a_start = block % 16 * p.aPoint;
  let b_start = block % 16 * p.bPoint;
  let k_end = min((split + 1) * p.kPerSplit, p.k);
  let lane = i32(local_index);
  let lane_m = lane / LANES_N;
  let lane_n = lane % LANES_N;

  var acc: array<vec4f, THREAD_M * (THREAD_N / 4)>;
  for (var k0 = split * p.kPerSplit; k0 < k_end; k0 += TILE_K) {
    load_a(lane, a_start, i0, k0);
    for (var slot = lane; slot < TILE_K * COLS4; slot += WG_SIZE) {
      b_tile[slot] = b_at(b_start, k0 + slot / COLS4, j0 + slot % COLS4 * 4);
    }
    workgroupBarrier();
    // Not TILE_K as such: software adapters would unroll the loop and compile for seconds.
    let depth = min(TILE_K, k_end - k0);
    for (var q = 0; q < depth; q++) {
      #unroll j THREAD_N / 4
      let b_$j = b_tile[q * COLS4 + lane_n + $j * LANES_N];
      #end
      #unroll i THREAD_M / 4
      let a_$i = a_tile[q * A_STRIDE + lane_m + $i * LANES_M];
      #unroll r 4
      #unroll j THREAD_N / 4
      acc[($i * 4 + $r) * (THREAD_N / 4) + $j] += a_$i[$r] * b_$j;
      #end
      #end
      #end
    }
    workgroupBarrier();
  }

  #unroll i THREAD_M / 4
  #unroll r 4
  #unroll j THREAD_N / 4
  {
    let i = i0 + (lane_m + $i * LANES_M) * 4 + $r;
    let j = j0 + (lane_n + $j * LANES_N) * 4;
    if (i < p.m && j < p.n) {
      let at = (block * p.cPoint + i * p.n + j) / 4;
      var value = acc[($i * 4 + $r) * (THREAD_N / 4) + $j];
      if (ACCUMULATE) {
        value += c[at];
      }
      c[at] = value;
    }
  }
  #end
  #end
  #end
}
