// Gradient of a convolution's filter for software adapters: dw[kh,kw,ci,co] = sum over n,oh,ow of
// x[n,ih,iw,ci] * dy[n,oh,ow,co] with ih = oh * strideH - padTop + kh * dilationH, iw likewise, terms outside of x left out.
// A matrix product: M = (kh, kw, ci), N = co, K = output pixels.
// x: [n,inH,inW,inC] NHWC, dy: [n,outH,outW,outC] NHWC, dw: [splits,kH,kW,inC,outC]: partial sums over `rowsPerSplit`
// of the n * outH rows of dy; inC and outC are multiples of 4. x and dy lie as Stored, f32 or f16; dw and all sums are f32.
//
// A workgroup is one subgroup with 4 * LANES entries (kh, kw, ci) x 4 * LANES_N output channels, split over the lanes as in
// conv2d_subgroup.wgsl, where the reasons are. In each turn a lane loads 4 pixels of 4 input channels and of 4 output
// channels; the input channels are then shared by shuffles. Writes dw (=).
// lib: index

enable subgroups;

struct Params {
  n: i32,
  inH: i32,
  inW: i32,
  inC: i32,
  kH: i32,
  kW: i32,
  outC: i32,
  outH: i32,
  outW: i32,
  strideH: i32,
  strideW: i32,
  dilationH: i32,
  dilationW: i32,
  padTop: i32,
  padLeft: i32,
  splits: i32,
  rowsPerSplit: i32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Stored>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

const ROWS = 4 * LANES_N; // entries of a lane group: an accumulator each

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let in_quads = p.inC / 4;
  let out_quads = p.outC / 4;
  let entries = p.kH * p.kW * p.inC;
  let tiles_m = (entries / 4 + LANES - 1) / LANES;
  let tiles_n = (out_quads + LANES_N - 1) / LANES_N;
  let tile = i32(workgroup_index(workgroup_id, num_workgroups));
  let tile_m = (tile / tiles_n) % tiles_m;
  // Splits outermost: workgroups that run at about the same time read the same images.
  let split = tile / tiles_n / tiles_m;
  if (split >= p.splits) {
    return;
  }
  let lane = i32(local_index);
  let lane_n = lane % LANES_N;
  let first_lane = u32(lane - lane_n);
  let quad = (tile % tiles_n) * LANES_N + lane_n;
  let dy_quad = min(quad, out_quads - 1);
  let group_entry = tile_m * (4 * LANES) + (lane / LANES_N) * ROWS;

  // The four entries that this lane loads lie in one tap.
  let entry = min(group_entry + 4 * lane_n, entries - 4);
  let tap = entry / p.inC;
  let x_quad = (entry % p.inC) / 4;
  let tap_h = (tap / p.kW) * p.dilationH - p.padTop;
  let tap_w = (tap % p.kW) * p.dilationW - p.padLeft;

  var acc: array<vec4f, ROWS>;
  let last_row = min((split + 1) * p.rowsPerSplit, p.n * p.outH);
  for (var row = split * p.rowsPerSplit; row < last_row; row++) {
    let ih = (row % p.outH) * p.strideH + tap_h;
    let row_inside = ih >= 0 && ih < p.inH;
    let x_row = ((row / p.outH) * p.inH + ih) * p.inW;
    for (var ow = 0; ow < p.outW; ow += 4) {
      #unroll k 4
      let dy_block$k = vec4f(dy[(row * p.outW + min(ow + $k, p.outW - 1)) * out_quads + dy_quad]);
      #end
      #unroll k 4
      let iw$k = (ow + $k) * p.strideW + tap_w;
      let inside$k = row_inside && iw$k >= 0 && iw$k < p.inW && ow + $k < p.outW;
      let x_block$k = select(vec4f(), vec4f(x[select(0, (x_row + iw$k) * in_quads + x_quad, inside$k)]), inside$k);
      #end
      #unroll lane LANES_N
        #unroll r 4
          #unroll k 4
      acc[4 * $lane + $r] = fma(vec4f(subgroupShuffle(x_block$k[$r], first_lane + $lane)), dy_block$k, acc[4 * $lane + $r]);
          #end
        #end
      #end
    }
  }

  if (quad < out_quads) {
    #unroll lane LANES_N
      #unroll r 4
      if (group_entry + 4 * $lane + $r < entries) {
        dw[(split * entries + group_entry + 4 * $lane + $r) * out_quads + quad] = acc[4 * $lane + $r];
      }
      #end
    #end
  }
}
