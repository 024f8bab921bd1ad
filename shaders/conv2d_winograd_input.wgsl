// Winograd convolution, input transform: v = B^T d B for each tile d of IN_TILE x IN_TILE pixels of x, where tile (th, tw)
// starts at row OUT_TILE * th + originH and column OUT_TILE * tw + originW, and pixels outside of x count as 0.
// x: [n,inH,inW,xC] NHWC, v: [IN_TILE * IN_TILE][tiles,vC] with `vPoint` from one of the points to the next. v holds
// the tiles firstTile and following of all n * tilesH * tilesW, and zeros in channels past xC.
// One invocation computes a tile of one channel. Writes v (=).
// lib/winograd.wgsl has the matrices.
// Constants: Stored (f32 or f16, of x), OUT_TILE, IN_TILE.
// lib: index, winograd

override WG_SIZE: u32 = 64;

struct Params {
  inH: i32,
  inW: i32,
  xC: i32,
  vC: i32,
  vPoint: i32,
  firstTile: i32,
  tiles: i32,
  tilesH: i32,
  tilesW: i32,
  originH: i32,
  originW: i32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> v: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let p = params;
  let i = i32(workgroup_index(workgroup_id, num_workgroups) * WG_SIZE + local_index);
  if (i >= p.tiles * p.vC) {
    return;
  }
  let c = i % p.vC;
  let tile = p.firstTile + i / p.vC;
  let n = tile / p.tilesW / p.tilesH;
  let ih = OUT_TILE * (tile / p.tilesW % p.tilesH) + p.originH;
  let iw = OUT_TILE * (tile % p.tilesW) + p.originW;

  // The row of x under each row of the tile; outside of x, so far below 0 that no column leads back.
  #unroll r IN_TILE
  let row_$r = select(-0x40000000, ((n * p.inH + ih + $r) * p.inW + iw) * p.xC + c, u32(ih + $r) < u32(p.inH) && c < p.xC);
  #end
  var t: array<Line, IN_TILE>; // the columns of B^T d
  #unroll s IN_TILE
  {
    var column: Line;
    let shift = select(-0x40000000, $s * p.xC, u32(iw + $s) < u32(p.inW));
    #unroll r IN_TILE
    {
      let at = row_$r + shift;
      column[$r] = select(0.0, f32(x[max(at, 0)]), at >= 0);
    }
    #end
    t[$s] = interpolate_transposed(column);
  }
  #end
  #unroll r IN_TILE
  {
    var row: Line;
    #unroll s IN_TILE
    row[$s] = t[$s][$r];
    #end
    row = interpolate_transposed(row);
    #unroll s IN_TILE
    v[i + ($r * IN_TILE + $s) * p.vPoint] = row[$s];
    #end
  }
  #end
}
