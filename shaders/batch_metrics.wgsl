// What a training step reports: the mean loss of the batch, and one row of the log,
//   log[slot] = (mean loss, correct predictions, rows, 1 if anything was not finite so far).
// A loss that is not finite raises the status: word 0 = 1, word 1 = the first such step.
// row_loss, correct: [rows], loss: [], log: [slots, 4], status: [4]. One workgroup sums in a fixed order.
// Writes loss and one row of log (=), updates status.
// lib: reduce, finite, step

override WG_SIZE: u32 = 64;

struct Params {
  rows: u32,
}

@group(0) @binding(0) var<storage, read> row_loss: array<f32>;
@group(0) @binding(1) var<storage, read> correct: array<u32>;
@group(0) @binding(2) var<storage, read> step: Step;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> log: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> status: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) local_index: u32) {
  var loss_part = 0.0;
  var correct_part = 0u;
  for (var row = local_index; row < params.rows; row += WG_SIZE) {
    loss_part += row_loss[row];
    correct_part += correct[row];
  }
  let loss_sum = workgroup_sum(loss_part, local_index);
  let correct_sum = workgroup_sum_u32(correct_part, local_index);
  if (local_index != 0) {
    return;
  }
  let mean = loss_sum / f32(params.rows);
  if (!is_finite(mean)) {
    status[0] = 1;
    status[1] = min(status[1], step.number);
  }
  loss[0] = mean;
  if (step.slot < arrayLength(&log)) {
    log[step.slot] = vec4f(mean, f32(correct_sum), f32(params.rows), f32(status[0]));
  }
}
