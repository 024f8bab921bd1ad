// Matrix product for GPUs: c[i,j] = bias[j] + sum over p of a[i,p] * b[p,j], by tiles in workgroup memory.
// a: [m,k] or, with TRANSPOSE_A, [k,m]; b: [k,n] or, with TRANSPOSE_B, [n,k]; bias: [n]; c: [m,n]. All are row-major views:
// element [r,s] lies at offset + r * stride + s of its array, so that columns of a larger matrix can be read and written.
// a and b lie as Stored, c as CStored, each f32 or f16; bias, tiles and sums are f32.
// A workgroup computes TILE_M x TILE_N elements of c, an invocation 4 x 4 of them in registers. Workgroup z takes the part
// of k that starts at z * kPerSplit and writes the z-th [m,n] block of c: partial sums for sum_splits.wgsl.
// Writes c (=), or with ACCUMULATE adds to it (+=).
// Reference: https://siboehm.com/articles/22/CUDA-MMM, kernel 5 with vectorized shared memory.

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override HAS_BIAS: bool = false;
override ACCUMULATE: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

struct Params {
  m: u32,
  n: u32,
  k: u32,
  kPerSplit: u32,
  aOffset: u32,
  aStride: u32,
  bOffset: u32,
  bStride: u32,
  cOffset: u32,
  cStride: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored>;
@group(0) @binding(1) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<CStored>;
@group(0) @binding(4) var<uniform> params: Params;

const LANES_M = TILE_M / 4;
const LANES_N = TILE_N / 4;
const WG_SIZE = LANES_M * LANES_N;
// One vec4 of padding a row, so that neighbours along k do not meet in one bank of workgroup memory.
const A_ROW = LANES_M + 1;
const B_ROW = LANES_N + 1;

var<workgroup> a_tile: array<vec4f, TILE_K * A_ROW>;
var<workgroup> b_tile: array<vec4f, TILE_K * B_ROW>;

fn a_at(i: u32, p: u32, k_end: u32) -> f32 {
  if (i >= params.m || p >= k_end) {
    return 0.0;
  }
  return f32(a[params.aOffset + select(i * params.aStride + p, p * params.aStride + i, TRANSPOSE_A)]);
}

fn b_at(p: u32, j: u32, k_end: u32) -> f32 {
  if (j >= params.n || p >= k_end) {
    return 0.0;
  }
  return f32(b[params.bOffset + select(p * params.bStride + j, j * params.bStride + p, TRANSPOSE_B)]);
}

// Neighbouring invocations read neighbouring elements: along k where that is the matrix's last axis, else across it.
fn load_tiles(local_index: u32, tile_i: u32, tile_j: u32, p0: u32, k_end: u32) {
  for (var slot = local_index; slot < TILE_K * LANES_M; slot += WG_SIZE) {
    let p = select(slot % TILE_K, slot / LANES_M, TRANSPOSE_A);
    let lane = select(slot / TILE_K, slot % LANES_M, TRANSPOSE_A);
    let i = tile_i + lane * 4;
    a_tile[p * A_ROW + lane] = vec4f(
      a_at(i, p0 + p, k_end),
      a_at(i + 1, p0 + p, k_end),
      a_at(i + 2, p0 + p, k_end),
      a_at(i + 3, p0 + p, k_end),
    );
  }
  for (var slot = local_index; slot < TILE_K * LANES_N; slot += WG_SIZE) {
    let p = select(slot / LANES_N, slot % TILE_K, TRANSPOSE_B);
    let lane = select(slot % LANES_N, slot / TILE_K, TRANSPOSE_B);
    let j = tile_j + lane * 4;
    b_tile[p * B_ROW + lane] = vec4f(
      b_at(p0 + p, j, k_end),
      b_at(p0 + p, j + 1, k_end),
      b_at(p0 + p, j + 2, k_end),
      b_at(p0 + p, j + 3, k_end),
    );
  }
}

fn store_row(i: u32, j: u32, split: u32, row: vec4f) {
  if (i >= params.m) {
    return;
  }
  let at = params.cOffset + (split * params.m + i) * params.cStride;
  for (var s = j; s < min(j + 4, params.n); s++) {
    var value = row[s - j];
    if (HAS_BIAS && split == 0) {
      value += bias[s];
    }
    if (ACCUMULATE) {
      value += f32(c[at + s]);
    }
    c[at + s] = CStored(select(LEAKY_SLOPE * value, value, value > 0.0));
  }
}

@compute @workgroup_size(LANES_N, LANES_M)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(local_invocation_id) local_id: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let tile_i = workgroup_id.y * TILE_M;
  let tile_j = workgroup_id.x * TILE_N;
  let k_start = workgroup_id.z * params.kPerSplit;
  let k_end = min(k_start + params.kPerSplit, params.k);
  var acc_0 = vec4f();
  var acc_1 = vec4f();
  var acc_2 = vec4f();
  var acc_3 = vec4f();
  for (var p0 = k_start; p0 < k_end; p0 += TILE_K) {
    load_tiles(local_index, tile_i, tile_j, p0, k_end);
    workgroupBarrier();
    // A bound that is not constant keeps software adapters from unrolling, which makes them compile for seconds.
    let depth = min(TILE_K, k_end - p0);
    for (var p = 0u; p < depth; p++) {
      let a_column = a_tile[p * A_ROW + local_id.y];
      let b_row = b_tile[p * B_ROW + local_id.x];
      acc_0 += a_column.x * b_row;
      acc_1 += a_column.y * b_row;
      acc_2 += a_column.z * b_row;
      acc_3 += a_column.w * b_row;
    }
    workgroupBarrier();
  }
  let i = tile_i + local_id.y * 4;
  let j = tile_j + local_id.x * 4;
  store_row(i, j, workgroup_id.z, acc_0);
  store_row(i + 1, j, workgroup_id.z, acc_1);
  store_row(i + 2, j, workgroup_id.z, acc_2);
  store_row(i + 3, j, workgroup_id.z, acc_3);
}
