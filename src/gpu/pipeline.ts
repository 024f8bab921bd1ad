/**
 * From a shader's text to what can be dispatched, and from the compiler's messages to the line on disk.
 */
import { messageOf } from "../system_errors.ts";
import { ShaderError } from "./errors.ts";
import type { Constants, Shader } from "./shader.ts";

export interface Pipeline {
  readonly shader: Shader;
  readonly handle: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** The name under which a shader with these constants is kept, and which the device's errors say. */
export function pipelineKey(shaderName: string, constants: Constants): string {
  const sorted = Object.entries(constants).sort(([a], [b]) => (a < b ? -1 : 1));
  return [shaderName, ...sorted.map(([key, value]) => `${key}=${String(value)}`)].join(" ");
}

/** Compiles a shader. @throws ShaderError with the compiler's messages */
export async function compilePipeline(
  device: GPUDevice,
  shader: Shader,
  constants: Constants,
): Promise<Pipeline> {
  const label = pipelineKey(shader.name, constants);
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label, code: shader.code });
  const layout = bindGroupLayout(device, shader, label);
  const creation = device.createComputePipelineAsync({
    label,
    layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: "main", constants: shader.overrides },
  });
  const scope = device.popErrorScope();
  try {
    const handle = await creation;
    await scope;
    return { shader, handle, layout };
  } catch (cause) {
    await scope;
    throw await shaderError(module, shader, constants, cause);
  }
}

/** The tensors and, behind them, the parameters: one group, since each costs the host a call for each dispatch. */
function bindGroupLayout(device: GPUDevice, shader: Shader, label: string): GPUBindGroupLayout {
  const types = shader.bindings.map((access): GPUBufferBindingType =>
    access === "read" ? "read-only-storage" : "storage",
  );
  if (shader.params.length > 0) types.push("uniform");
  return device.createBindGroupLayout({
    label,
    entries: types.map((type, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type },
    })),
  });
}

async function shaderError(
  module: GPUShaderModule,
  shader: Shader,
  constants: Constants,
  cause: unknown,
): Promise<ShaderError> {
  const file = `${shader.name}.wgsl`;
  const info = await module.getCompilationInfo();
  const messages = info.messages.map((m) => ({
    type: m.type,
    line: m.lineNum,
    column: m.linePos,
    text: m.message,
  }));
  const inForce = Object.entries(constants).map(([key, value]) => `${key}=${String(value)}`);
  const errors = messages.filter((m) => m.type === "error");
  const lines = errors.map((m) => `${placeOf(shader, m.line)}:${m.column} ${m.text}`);
  if (lines.length === 0) lines.push(`${file} ${messageOf(cause)}`);
  return new ShaderError(
    `${lines.join("\n")} (constants ${inForce.join(" ") || "none"})`,
    { file, messages, constants },
    { cause },
  );
}

/** `file:line` on disk of a line of a shader's code. */
function placeOf({ name, files }: Shader, line: number): string {
  const part = files.findLast(({ firstLine }) => firstLine <= line);
  return part ? `${part.file}:${line - part.firstLine + 1}` : `${name}.wgsl:${line}`;
}
