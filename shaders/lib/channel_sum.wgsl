// Sums over the invocations of a workgroup that have the same channel, every CHANNEL_LANES-th of WG_SIZE, both powers of
// two. Fixed tree, so the same bits in every run. Constants: Value.
var<workgroup> channel_sums: array<Value, WG_SIZE>;

// To be called once, from uniform control flow; the first CHANNEL_LANES invocations get their channel's sum.
fn channel_sum(value: Value, local_index: u32) -> Value {
  channel_sums[local_index] = value;
  for (var half = WG_SIZE / 2; half >= CHANNEL_LANES; half /= 2) {
    workgroupBarrier();
    if (local_index < half) {
      channel_sums[local_index] += channel_sums[local_index + half];
    }
  }
  return channel_sums[local_index];
}
