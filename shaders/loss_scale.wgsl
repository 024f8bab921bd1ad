// Dynamic loss scaling, after the gradients were looked at (all_finite.wgsl) and the weights updated (adamax.wgsl, which
// changes nothing while status word 0 is not 0). Float16 gradients of a loss times `scale` keep what would underflow:
//   status raised, scale > 1:  an overflow: the step was skipped; scale /= 2, and the status is cleared for the next one
//   status raised, scale = 1:  no overflow, since nothing is scaled: the status stays, and training ends with it
//   otherwise:                 a good step; growth_interval of them in a row give scale = min(2 * scale, 2^24)
// A loss that is not finite raises the status too (batch_metrics.wgsl), and no scale mends that: it is taken for an
// overflow, but 2^16 is halved to 1 in sixteen skipped steps, and the next one ends the training.
// loss_scale: the state, 16 bytes (src/kernels/loss_scale.ts), status: [4]. One invocation. Updates both.
// Reference: Micikevicius et al. 2018, Mixed Precision Training, arXiv:1710.03740; constants as in PyTorch's GradScaler,
// https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling, which has no bounds for the scale.

struct Params {
  growth_interval: u32,
}

struct LossScale {
  scale: f32,
  good_steps: u32, // in a row
  skipped_steps: u32,
  spare: u32,
}

@group(0) @binding(0) var<storage, read_write> loss_scale: LossScale;
@group(0) @binding(1) var<storage, read_write> status: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
  if (status[0] != 0) {
    if (loss_scale.scale > 1.0) {
      loss_scale.scale *= 0.5;
      loss_scale.good_steps = 0;
      loss_scale.skipped_steps++;
      status[0] = 0;
      status[1] = 0xffffffff;
    }
    return;
  }
  loss_scale.good_steps++;
  if (loss_scale.good_steps >= params.growth_interval) {
    loss_scale.scale = min(2.0 * loss_scale.scale, 0x1p24f);
    loss_scale.good_steps = 0;
  }
}
