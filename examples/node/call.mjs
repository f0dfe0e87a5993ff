// Asks a model what it takes, scores one row, and shows what a refusal looks like:
//     node call.mjs [ADDRESS [MODEL]]
// WIDEDEEP_CA names a PEM file of the authority of the server's certificate, WIDEDEEP_TOKEN holds a bearer token.
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address = "localhost:8001", model = "digits"] = process.argv.slice(2);
const { WIDEDEEP_CA: ca, WIDEDEEP_TOKEN: token } = process.env;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const options = { includeDirs: [here("../../protos")], keepCase: true, longs: Number };
const definition = loader.loadSync("inference.proto", options);
const { inference } = grpc.loadPackageDefinition(definition);
const credentials = ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure();
const client = new inference.GRPCInferenceService(address, credentials, {
  "grpc.service_config": readFileSync(here("../service_config.json"), "utf8"), // retries, balancing
});
const metadata = new grpc.Metadata();
if (token) metadata.set("authorization", `Bearer ${token}`);
const call = (method, request) => // each call has 5 seconds, retries and all
  promisify(client[method].bind(client))(request, metadata, { deadline: Date.now() + 5000 });

const { inputs, versions } = await call("ModelMetadata", { name: model });
console.log(`${model} version ${versions.at(-1)} takes ${inputs.map((input) => input.name).join(", ")}`);

const tensors = inputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: [1, ...shape.slice(1)] }));
const raw = tensors.map(({ shape }) => {
  const size = shape.reduce((product, length) => product * length);
  const bytes = Buffer.alloc(4 * size); // float32, little-endian whatever the machine
  for (let i = 0; i < size; i++) bytes.writeFloatLE((i % 8) / 8, 4 * i);
  return bytes;
});
const answer = await call("ModelInfer", { model_name: model, inputs: tensors, raw_input_contents: raw });
const at = answer.outputs.findIndex(({ name }) => name === "probabilities");
const bytes = answer.raw_output_contents[at];
const probabilities = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i).toPrecision(9));
console.log(`probabilities ${probabilities.join(" ")}`);

try {
  await call("ModelMetadata", { name: "no-such-model" });
} catch (error) {
  console.log(`status ${error.code}: ${error.details}`);
}
client.close();
