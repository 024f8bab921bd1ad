// Lays the kW taps of a convolution's row of the kernel out as channels, for inputs with few channels:
// y[n,ih,ow,kw*inC+ci] = x[n,ih,iw,ci] with iw = ow * strideW - padLeft + kw * dilationW, 0 where that is outside.
// The convolution of y with the same filter, read as [kH,1,kW*inC,outC], gives the same result.
// x: [rows,inW,IN_C] with rows = n * inH, y: [rows,outW,4 * QUADS], K_W * IN_C rounded up to fours, zeros in the rest.
// Stored is f32 or f16. One invocation computes one pixel of y. Writes y (=).
// lib: index

override WG_SIZE: u32 = 64;

struct Params {
  rows: i32,
  inW: i32,
  outW: i32,
  strideW: i32,
  dilationW: i32,
  padLeft: i32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<Stored>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let pixel = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (pixel >= p.rows * p.outW) {
    return;
  }
  let row = pixel / p.outW;
  let first = (pixel % p.outW) * p.strideW - p.padLeft;
  #unroll q QUADS
  {
    var quad = vec4<Stored>();
    #unroll e 4
    if (4 * $q + $e < K_W * IN_C) {
      let iw = first + (4 * $q + $e) / IN_C * p.dilationW;
      let inside = iw >= 0 && iw < p.inW;
      let i = (row * p.inW + iw) * IN_C + (4 * $q + $e) % IN_C;
      quad[$e] = select(Stored(0.0), x[select(0, i, inside)], inside);
    }
    #end
    y[pixel * QUADS + $q] = quad;
  }
  #end
}
