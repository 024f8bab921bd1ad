// Matrix products for software adapters, of many rows: c[i,j] = bias[j] + sum over p of a[i,p] * op(b)[p,j]; i < m, j < n,
// p < k. a: [batch][m,k]; b: [batch][k,n], or [batch][n,k] with TRANSPOSE_B; bias: [n]; c: [batch][m,n]. Types, offsets,
// strides and blocks are those of matmul_subgroup.wgsl. Where four does not divide k, zeros stand behind the rows of a.
//
// Here b stays where it is, and rows of a pass by ("weight-stationary" in Sze et al. 2017, https://arxiv.org/abs/1703.09039).
// A workgroup is one subgroup. It holds HELD_K rows of b in 4 * QUADS columns of each lane, in private memory, which on a
// CPU is its stack: multiplications take their operands from there. In each turn a lane group of LANES_N lanes loads
// ROWS rows of a, SLOTS quads a lane, shares them by shuffles, and writes ROWS rows of c: sums live in registers, and only
// a is loaded. HELD_K * QUADS * ROWS is the number of multiply-adds of vectors in a turn, all unrolled. With CHUNKS, more
// rows of b are taken when all rows have passed, and added to c.
// Writes c (=), or (+=) with ACCUMULATE.
// lib: index

enable subgroups;

override TRANSPOSE_B: bool = false;
override CHUNKS: bool = false; // k is more than HELD_K
override HAS_BIAS: bool = false;
override ACCUMULATE: bool = false;
override LEAKY_SLOPE: f32 = 1.0; // of a leaky ReLU at the end; 1 is none

struct Params {
  batch: i32,
  m: i32,
  n: i32,
  k: i32,
  rowsPerGroup: i32, // a multiple of ROWS * GROUPS
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

const GROUPS = LANES / LANES_N; // lane groups, each with rows of its own
const HELD = HELD_K * QUADS;
const K_QUADS = HELD_K / 4; // of a row; SLOTS * LANES_N is ROWS * K_QUADS

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let tiles_m = (p.m + p.rowsPerGroup - 1) / p.rowsPerGroup;
  let tiles_n = (p.n + 4 * QUADS * LANES_N - 1) / (4 * QUADS * LANES_N);
  let tile = i32(workgroup_index(workgroup_id, num_workgroups));
  let tile_n = (tile / tiles_m) % tiles_n;
  let block = tile / tiles_m / tiles_n;
  if (block >= p.batch) {
    return;
  }
  let lane = i32(local_index);
  let lane_n = lane % LANES_N;
  let first_lane = u32(lane - lane_n);
  let k_quads = (p.k + 3) / 4;
  let a_quads = p.aStride / 4;
  let b_quads = p.bStride / 4;
  let c_quads = p.cStride / 4;
  let a_start = (p.aOffset + block * p.aBlock) / 4;
  let b_start = (p.bOffset + block * p.bBlock) / 4;
  let c_start = (p.cOffset + block * p.cBlock) / 4;
  let column = tile_n * QUADS * LANES_N + lane_n; // in quads; the others of this lane are LANES_N apart
  let columns = p.n / 4;
  let first_row = (tile % tiles_m) * p.rowsPerGroup;
  let last_row = min(first_row + p.rowsPerGroup, p.m);

  var held: array<vec4f, HELD>; // [k][quad]
  var bias_block: array<vec4f, QUADS>;
  if (HAS_BIAS) {
    for (var i = 0; i < 4 * QUADS; i++) {
      bias_block[i / 4][i % 4] = bias[min(4 * (column + i / 4 * LANES_N) + i % 4, p.biasCount - 1)];
    }
  }
  for (var k0 = 0; k0 < p.k; k0 += HELD_K) {
    // Behind the last row of b stand zeros, which meet the last of a again. Columns past the end are read again from the
    // last one, and not written.
    for (var i = 0; i < HELD; i++) {
      let k = k0 + i / QUADS;
      let quad = min(column + i % QUADS * LANES_N, columns - 1);
      var value: vec4f;
      if (TRANSPOSE_B) {
        for (var j = 0; j < 4; j++) {
          value[j] = f32(b[b_start + (4 * quad + j) * b_quads + min(k, p.k - 1) / 4][k % 4]);
        }
      } else {
        value = vec4f(b[b_start + min(k, p.k - 1) * b_quads + quad]);
      }
      held[i] = select(vec4f(), value, k < p.k);
    }
    for (var group_row = first_row; group_row < last_row; group_row += ROWS * GROUPS) {
      let row = group_row + lane / LANES_N * ROWS;
      #unroll s SLOTS
      let quad_$s = $s * LANES_N + lane_n;
      let k_$s = min(k0 / 4 + quad_$s % K_QUADS, k_quads - 1);
      let a_block_$s = vec4f(a[a_start + min(row + quad_$s / K_QUADS, p.m - 1) * a_quads + k_$s]);
      #end
      var acc = array<vec4f, ROWS * QUADS>(); // zero in each turn: without a value, Dawn sets it to zero once only
      #unroll s SLOTS
        #unroll lane LANES_N
          #unroll j 4
            #unroll q QUADS
      {
        const ROW = ($s * LANES_N + $lane) / K_QUADS;
        const K = 4 * (($s * LANES_N + $lane) % K_QUADS) + $j;
        acc[ROW * QUADS + $q] = fma(vec4f(subgroupShuffle(a_block_$s[$j], first_lane + $lane)), held[K * QUADS + $q], acc[ROW * QUADS + $q]);
      }
            #end
          #end
        #end
      #end
      #unroll r ROWS
        #unroll q QUADS
      if ((ROWS * GROUPS == 1 || row + $r < last_row) && column + $q * LANES_N < columns) {
        let at = c_start + (row + $r) * c_quads + column + $q * LANES_N;
        var value = acc[$r * QUADS + $q];
        if (ACCUMULATE || (CHUNKS && k0 > 0)) {
          value += vec4f(c[at]);
        }
        if (!CHUNKS || k0 + HELD_K >= p.k) {
          value += bias_block[$q];
          value = select(LEAKY_SLOPE * value, value, value > vec4f());
        }
        c[at] = vec4<CStored>(value);
      }
        #end
      #end
    }
  }
}
