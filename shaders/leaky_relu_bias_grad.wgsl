// Gradient of a leaky ReLU behind a bias, and of that bias: dx = dy where y > 0, else slope * dy; partials[s,c] = sum of
// dx[row,c] over the rows of split s, s * rowsPerSplit and on. y is the leaky ReLU's output, which has its input's sign.
// y, dy, dx: [rows,c], partials: [splits,c], in values: Value is f32, or vec4f where four divides the channels; Stored is
// the same as y, dy and dx lie in memory, perhaps in f16. The sum is of dx as computed, before it is stored.
// One workgroup takes one split for CHANNEL_LANES values of a row: its other lanes take every (WG_SIZE / CHANNEL_LANES)-th
// row, and the lanes of a channel are added as a tree. Writes dx and partials (=).
// lib: channel_sum

override WG_SIZE: u32 = 64;
override CHANNEL_LANES: u32 = 64;

struct Params {
  rows: u32,
  c: u32, // values, not channels
  rowsPerSplit: u32,
  slope: f32,
}

@group(0) @binding(0) var<storage, read> y: array<Stored>;
@group(0) @binding(1) var<storage, read> dy: array<Stored>;
@group(0) @binding(2) var<storage, read_write> dx: array<Stored>;
@group(0) @binding(3) var<storage, read_write> partials: array<Value>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(local_invocation_index) local_index: u32,
) {
  let split = workgroup_id.y;
  let c = workgroup_id.x * CHANNEL_LANES + local_index % CHANNEL_LANES;
  let end = min((split + 1) * params.rowsPerSplit, params.rows);
  var acc = Value();
  if (c < params.c) {
    var row = split * params.rowsPerSplit + local_index / CHANNEL_LANES;
    for (; row < end; row += WG_SIZE / CHANNEL_LANES) {
      let i = row * params.c + c;
      let value = Value(dy[i]) * select(Value(params.slope), Value(1.0), Value(y[i]) > Value());
      dx[i] = Stored(value);
      acc += value;
    }
  }
  let sum = channel_sum(acc, local_index);
  if (local_index < CHANNEL_LANES && c < params.c) {
    partials[split * params.c + c] = sum;
  }
}
