/** Swish with a slip in one kernel, to see what a gradient check says of it. */
import { registerShader } from "tuningfork";
import { Swish } from "./swish.ts";

registerShader("swish_beta_grad_wrong", new URL("./swish_beta_grad_wrong.wgsl", import.meta.url));

/** Trains, and learns little: its betas move away from where the loss falls. */
export class WrongSwish extends Swish {
  override readonly type = "WrongSwish";
  protected override readonly betaGradShader = "swish_beta_grad_wrong";
}
