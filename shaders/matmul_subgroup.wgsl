// Matrix products for software adapters: c[i,j] = bias[j] + sum over p of op(a)[i,p] * op(b)[p,j]; i < m, j < n, p < k.
// a: [batch][m,k], or [batch][k,m] with TRANSPOSE_A; b: [batch][k,n], or [batch][n,k] with TRANSPOSE_B; bias: [n];
// c: [splits][batch][m,n], partial sums over `kPerSplit` of k. Row-major with rows `aStride` etc. apart, and `aBlock` etc.
// from one matrix to the next. Strides, offsets, blocks, kPerSplit and n are multiples of 4; so is k where it lies along
// the rows of a or b. a and b lie as Stored, c as CStored, each f32 or f16; bias and all sums are f32.
//
// A workgroup is one subgroup with 4 * LANES rows x 4 * LANES_N columns of c, split over the lanes as in
// conv2d_subgroup.wgsl, where the reasons are. In each turn a lane loads a block of 4 rows x 4 k of op(a) and one of 4 k x
// 4 columns of op(b); the former is then shared by shuffles. Writes c (=), or (+=) with ACCUMULATE.
// lib: index

enable subgroups;

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override HAS_BIAS: bool = false;
override ACCUMULATE: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

struct Params {
  batch: i32,
  m: i32,
  n: i32,
  k: i32,
  kPerSplit: i32,
  splits: i32,
  aOffset: i32,
  aStride: i32,
  aBlock: i32,
  bOffset: i32,
  bStride: i32,
  bBlock: i32,
  cOffset: i32,
  cStride: i32,
  cBlock: i32,
  biasCount: i32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<Stored>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<CStored>>;
@group(0) @binding(4) var<uniform> params: Params;

const ROWS = 4 * LANES_N; // rows of a lane group: an accumulator each

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let tiles_m = (p.m + 4 * LANES - 1) / (4 * LANES);
  let tiles_n = (p.n + 4 * LANES_N - 1) / (4 * LANES_N);
  let tile = i32(workgroup_index(workgroup_id, num_workgroups));
  let tile_n = (tile / tiles_m) % tiles_n;
  let block = tile / tiles_m / tiles_n; // split * batch + matrix
  let split = block / p.batch;
  if (split >= p.splits) {
    return;
  }
  let lane = i32(local_index);
  let lane_n = lane % LANES_N;
  let first_lane = u32(lane - lane_n);
  let column = 4 * (tile_n * LANES_N + lane_n);
  let group_row = (tile % tiles_m) * (4 * LANES) + (lane / LANES_N) * ROWS;
  let row = group_row + 4 * lane_n; // the first of the four that this lane loads
  let a_quads = p.aStride / 4;
  let b_quads = p.bStride / 4;
  let a_start = (p.aOffset + block % p.batch * p.aBlock) / 4;
  let b_start = (p.bOffset + block % p.batch * p.bBlock) / 4;
  // Rows and columns past the end are read again from the last one, and not written.
  let a_column = a_start + min(row, p.m - 1) / 4;
  let b_column = b_start + min(column, p.n - 1) / 4;

  var acc: array<vec4f, ROWS>;
  let last_k = min((split + 1) * p.kPerSplit, p.k);
  for (var k0 = split * p.kPerSplit; k0 < last_k; k0 += 4) {
    var b_block: mat4x4f; // [k][column]
    var a_block: mat4x4f; // [row][k]
    if (TRANSPOSE_B) {
      #unroll j 4
      b_block[$j] = vec4f(b[b_start + min(column + $j, p.n - 1) * b_quads + k0 / 4]);
      #end
      b_block = transpose(b_block);
    } else {
      #unroll k 4
      b_block[$k] = vec4f(b[min(k0 + $k, p.k - 1) * b_quads + b_column]);
      #end
    }
    if (TRANSPOSE_A) {
      #unroll k 4
      a_block[$k] = select(vec4f(), vec4f(a[min(k0 + $k, p.k - 1) * a_quads + a_column]), k0 + $k < p.k);
      #end
      a_block = transpose(a_block);
    } else {
      #unroll r 4
      a_block[$r] = vec4f(a[a_start + min(row + $r, p.m - 1) * a_quads + k0 / 4]);
      #end
    }
    #unroll lane LANES_N
      #unroll r 4
        #unroll k 4
    acc[4 * $lane + $r] = fma(vec4f(subgroupShuffle(a_block[$r][$k], first_lane + $lane)), b_block[$k], acc[4 * $lane + $r]);
        #end
      #end
    #end
  }

  var bias_block = vec4f();
  if (HAS_BIAS && split == 0) {
    for (var i = 0; i < 4; i++) {
      bias_block[i] = bias[min(column + i, p.biasCount - 1)];
    }
  }
  if (column < p.n) {
    #unroll lane LANES_N
      #unroll r 4
      if (group_row + 4 * $lane + $r < p.m) {
        let at = (p.cOffset + block * p.cBlock + (group_row + 4 * $lane + $r) * p.cStride + column) / 4;
        var value = acc[4 * $lane + $r] + bias_block;
        if (ACCUMULATE) {
          value += vec4f(c[at]);
        }
        c[at] = vec4<CStored>(select(LEAKY_SLOPE * value, value, value > vec4f()));
      }
      #end
    #end
  }
}
