// Reductions over a workgroup of WG_SIZE invocations, a power of two. Fixed tree, so the same bits in every run.
// Call them from uniform control flow; every invocation gets the result.
var<workgroup> reduce_floats: array<f32, WG_SIZE>;
var<workgroup> reduce_words: array<u32, WG_SIZE>;

fn workgroup_sum(value: f32, local_index: u32) -> f32 {
  workgroupBarrier(); // the last result has been read by all
  reduce_floats[local_index] = value;
  for (var half = WG_SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (local_index < half) {
      reduce_floats[local_index] += reduce_floats[local_index + half];
    }
  }
  workgroupBarrier();
  return reduce_floats[0];
}

fn workgroup_max(value: f32, local_index: u32) -> f32 {
  workgroupBarrier();
  reduce_floats[local_index] = value;
  for (var half = WG_SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (local_index < half) {
      reduce_floats[local_index] = max(reduce_floats[local_index], reduce_floats[local_index + half]);
    }
  }
  workgroupBarrier();
  return reduce_floats[0];
}

fn workgroup_sum_u32(value: u32, local_index: u32) -> u32 {
  workgroupBarrier();
  reduce_words[local_index] = value;
  for (var half = WG_SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (local_index < half) {
      reduce_words[local_index] += reduce_words[local_index + half];
    }
  }
  workgroupBarrier();
  return reduce_words[0];
}

fn workgroup_min_u32(value: u32, local_index: u32) -> u32 {
  workgroupBarrier();
  reduce_words[local_index] = value;
  for (var half = WG_SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (local_index < half) {
      reduce_words[local_index] = min(reduce_words[local_index], reduce_words[local_index + half]);
    }
  }
  workgroupBarrier();
  return reduce_words[0];
}
