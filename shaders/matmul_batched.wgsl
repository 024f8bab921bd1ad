// Matrix products for GPUs, a batch of equal size in one dispatch: c[i,j] = bias[j] + sum over q of op(a)[i,q] * op(b)[q,j],
// with LEAKY_SLOPE leakyRelu of it.
// a: [batch][m,k], or [batch][k,m] with TRANSPOSE_A; b: [batch][k,n], or [batch][n,k] with TRANSPOSE_B; bias: [n];
// c: [splits][batch][m,n], partial sums over `kPerSplit` of k. All in fours, so that n and the last axes of a and b are
// multiples of 4; aBlock, bBlock, cBlock elements lie from one matrix to the next.
// A workgroup computes a tile of TILE_M x TILE_N of one product, an invocation THREAD_M x THREAD_N of it in registers.
// Writes c (=), or (+=) with ACCUMULATE.
// The scheme: https://siboehm.com/articles/22/CUDA-MMM
// Constants: LANES_M, LANES_N, THREAD_M, THREAD_N (4 or 8), TILE_K; Stored of a and b, CStored of c (f32 or f16: bias, tiles
// and sums are f32).
// lib: index, register_tile

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override HAS_BIAS: bool = false;
override ACCUMULATE: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

const WG_SIZE = LANES_M * LANES_N;
const TILE_M = LANES_M * THREAD_M;
const TILE_N = LANES_N * THREAD_N;
const ROWS4 = TILE_M / 4;
const COLS4 = TILE_N / 4;
const K4 = TILE_K / 4;
// One vec4 more than a row needs, so that the lanes that write a column do not all meet in the same banks.
const A_STRIDE = ROWS4 + 1;
const B_STRIDE = COLS4 + 1;

struct Params {
  batch: i32,
  m: i32,
  n: i32,
  k: i32,
  kPerSplit: i32,
  splits: i32,
  aBlock: i32,
  bBlock: i32,
  cBlock: i32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<Stored>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<CStored>>;
@group(0) @binding(4) var<uniform> params: Params;

// [TILE_K][TILE_M / 4] and [TILE_K][TILE_N / 4].
var<workgroup> a_tile: array<vec4f, TILE_K * A_STRIDE>;
var<workgroup> b_tile: array<vec4f, TILE_K * B_STRIDE>;

// Four neighbours of a row of the matrix as it is stored, zeros past its last row and column.
fn a_at(start: i32, row: i32, column: i32) -> vec4f {
  let rows = select(params.m, params.k, TRANSPOSE_A);
  let columns = select(params.k, params.m, TRANSPOSE_A);
  let inside = row < rows && column < columns;
  return select(vec4f(), vec4f(a[select(0, (start + row * columns + column) / 4, inside)]), inside);
}

fn b_at(start: i32, row: i32, column: i32) -> vec4f {
  let rows = select(params.k, params.n, TRANSPOSE_B);
  let columns = select(params.n, params.k, TRANSPOSE_B);
  let inside = row < rows && column < columns;
  return select(vec4f(), vec4f(b[select(0, (start + row * columns + column) / 4, inside)]), inside);
}

// Lanes side by side read neighbours of a row.
fn load_a(lane: i32, start: i32, i0: i32, k0: i32) {
  if (TRANSPOSE_A) {
    for (var slot = lane; slot < TILE_K * ROWS4; slot += WG_SIZE) {
      a_tile[slot / ROWS4 * A_STRIDE + slot % ROWS4] = a_at(start, k0 + slot / ROWS4, i0 + slot % ROWS4 * 4);
    }
    return;
  }
  for (var slot = lane; slot < ROWS4 * K4; slot += WG_SIZE) {
    let q = slot % K4 * 4;
    let i = i0 + slot / K4 * 4;
    let columns = transpose(mat4x4f(
      a_at(start, i, k0 + q), a_at(start, i + 1, k0 + q), a_at(start, i + 2, k0 + q), a_at(start, i + 3, k0 + q),
    ));
    #unroll s 4
    a_tile[(q + $s) * A_STRIDE + slot / K4] = columns[$s];
    #end
  }
}

fn load_b(lane: i32, start: i32, j0: i32, k0: i32) {
  if (!TRANSPOSE_B) {
    for (var slot = lane; slot < TILE_K * COLS4; slot += WG_SIZE) {
      b_tile[slot / COLS4 * B_STRIDE + slot % COLS4] = b_at(start, k0 + slot / COLS4, j0 + slot % COLS4 * 4);
    }
    return;
  }
  for (var slot = lane; slot < COLS4 * K4; slot += WG_SIZE) {
    let q = slot % K4 * 4;
    let j = j0 + slot / K4 * 4;
    let rows = transpose(mat4x4f(
      b_at(start, j, k0 + q), b_at(start, j + 1, k0 + q), b_at(start, j + 2, k0 + q), b_at(start, j + 3, k0 + q),
    ));
    #unroll s 4
    b_tile[(q + $s) * B_STRIDE + slot / K4] = rows[$s];
    #end
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
  let block = tile / tiles_n / tiles_m; // split * batch + matrix
  let split = block / p.batch;
  if (split >= p.splits) {
    return;
  }
  let i0 = tile / tiles_n % tiles_m * TILE_M;
  let j0 = tile % tiles_n * TILE_N;
  let a_start = block % p.batch * p.aBlock;
  let b_start = block % p.batch * p.bBlock;
  let k_end = min((split + 1) * p.kPerSplit, p.k);
  let lane = i32(local_index);
  let lane_m = lane / LANES_N;
  let lane_n = lane % LANES_N;

  var acc: RegisterTile; // see lib/register_tile.wgsl
  for (var k0 = split * p.kPerSplit; k0 < k_end; k0 += TILE_K) {
    load_a(lane, a_start, i0, k0);
    load_b(lane, b_start, j0, k0);
    workgroupBarrier();
    // Not TILE_K as such: software adapters would unroll the loop and compile for seconds.
    let depth = min(TILE_K, k_end - k0);
    multiply_slice(&acc, depth, lane_m, lane_n);
    workgroupBarrier();
  }

  #unroll j THREAD_N / 4
  {
    let column = j0 + (lane_n + $j * LANES_N) * 4;
    var offset = vec4f();
    if (HAS_BIAS && split == 0) {
      offset = bias[min(column, p.n - 4) / 4];
    }
    #unroll i THREAD_M / 4
    #unroll r 4
    {
      let row = i0 + (lane_m + $i * LANES_M) * 4 + $r;
      if (row < p.m && column < p.n) {
        let at = (block * p.cBlock + row * p.n + column) / 4;
        var value = acc[($i * 4 + $r) * (THREAD_N / 4) + $j] + offset;
        if (ACCUMULATE) {
          value += vec4f(c[at]);
        }
        c[at] = vec4<CStored>(select(LEAKY_SLOPE * value, value, value > vec4f()));
      }
    }
    #end
    #end
  }
  #end
}
