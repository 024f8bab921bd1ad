/** Writes ONNX models: the part of the format (onnx/onnx.proto, version 3) that the peer needs. */
import protobuf from "protobufjs";

const SCHEMA = `
  syntax = "proto3";
  message Model { int64 ir_version = 1; Graph graph = 7; repeated OperatorSet opset_import = 8; }
  message OperatorSet { string domain = 1; int64 version = 2; }
  message Graph {
    repeated Node node = 1; string name = 2; repeated Tensor initializer = 5;
    repeated Value input = 11; repeated Value output = 12;
  }
  message Node {
    repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4;
    repeated Attribute attribute = 5;
  }
  message Attribute { string name = 1; float f = 2; int64 i = 3; repeated int64 ints = 8; int32 type = 20; }
  message Tensor { repeated int64 dims = 1; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
  message Value { string name = 1; Type type = 2; }
  message Type { TensorType tensor_type = 1; }
  message TensorType { int32 elem_type = 1; Shape shape = 2; }
  message Shape { repeated Dimension dim = 1; }
  message Dimension { int64 dim_value = 1; }
`;
const Model = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType("Model");

const FLOAT = 1;
const INT64 = 7;
const ATTRIBUTE = { float: 1, int: 2, ints: 7 };

/**
 * A model's bytes.
 * @param nodes [{ op, inputs, output, ...attributes }]: whole numbers and lists of them are ints, `{ float }` is a float
 * @param initializers [{ name, shape, values }], Float32Array or BigInt64Array
 * @param inputs and outputs [{ name, shape }], float32
 */
export function onnxModel({ nodes, initializers, inputs, outputs }) {
  const value = ({ name, shape }) => {
    const dim = shape.map((size) => ({ dim_value: size }));
    return { name, type: { tensor_type: { elem_type: FLOAT, shape: { dim } } } };
  };
  const attribute = ([name, v]) => {
    if (Array.isArray(v)) return { name, ints: v, type: ATTRIBUTE.ints };
    if (typeof v === "object") return { name, f: v.float, type: ATTRIBUTE.float };
    return { name, i: v, type: ATTRIBUTE.int };
  };
  const graph = {
    name: "graph",
    node: nodes.map(({ op, inputs: from, output, ...attributes }) => ({
      ...{ op_type: op, name: output, input: from, output: [output] },
      attribute: Object.entries(attributes).map(attribute),
    })),
    initializer: initializers.map(({ name, shape, values }) => ({
      ...{ name, dims: shape, data_type: values instanceof Float32Array ? FLOAT : INT64 },
      raw_data: Buffer.from(values.buffer, values.byteOffset, values.byteLength),
    })),
    input: inputs.map(value),
    output: outputs.map(value),
  };
  const model = { ir_version: 8, opset_import: [{ domain: "", version: 17 }], graph };
  return Model.encode(Model.fromObject(model)).finish();
}
