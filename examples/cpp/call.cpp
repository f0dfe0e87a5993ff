// Asks a model what it takes, scores one row, and shows what a refusal looks like:
//     call [ADDRESS [MODEL]]
// WIDEDEEP_CA names a PEM file of the authority of the server's certificate, WIDEDEEP_TOKEN holds a bearer token.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "inference.grpc.pb.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw contents are little-endian: swap bytes here");

static std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Each call has a context of its own, with 5 seconds, retries and all.
static std::unique_ptr<grpc::ClientContext> context() {
  auto made = std::make_unique<grpc::ClientContext>();
  made->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  if (const char* token = std::getenv("WIDEDEEP_TOKEN")) {
    made->AddMetadata("authorization", std::string("Bearer ") + token);
  }
  return made;
}

static void check(const grpc::Status& status) {
  if (status.ok()) return;
  std::cerr << "status " << status.error_code() << ": " << status.error_message() << "\n";
  std::exit(1);
}

int main(int argc, char** argv) {
  const std::string address = argc > 1 ? argv[1] : "localhost:8001", model = argc > 2 ? argv[2] : "digits";
  const char* ca = std::getenv("WIDEDEEP_CA");
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(read("../service_config.json"));  // retries, balancing
  const auto credentials = ca ? grpc::SslCredentials({read(ca), "", ""}) : grpc::InsecureChannelCredentials();
  const auto client = inference::GRPCInferenceService::NewStub(
      grpc::CreateCustomChannel(address, credentials, arguments));

  inference::ModelMetadataRequest question;
  inference::ModelMetadataResponse found;
  question.set_name(model);
  check(client->ModelMetadata(context().get(), question, &found));
  std::cout << model << " version " << *found.versions().rbegin() << " takes ";

  inference::ModelInferRequest request;
  request.set_model_name(model);
  for (const auto& input : found.inputs()) {
    std::cout << (request.inputs_size() ? ", " : "") << input.name();
    auto* tensor = request.add_inputs();
    tensor->set_name(input.name());
    tensor->set_datatype(input.datatype());
    *tensor->mutable_shape() = input.shape();
    tensor->set_shape(0, 1);  // one row
    std::size_t size = 1;
    for (const auto length : tensor->shape()) size *= length;
    std::string raw(size * sizeof(float), '\0');
    for (std::size_t i = 0; i < size; ++i) {
      const float value = (i % 8) / 8.0f;
      std::memcpy(&raw[i * sizeof value], &value, sizeof value);
    }
    request.add_raw_input_contents(std::move(raw));
  }
  std::cout << "\n";

  inference::ModelInferResponse answer;
  check(client->ModelInfer(context().get(), request, &answer));
  for (int at = 0; at < answer.outputs_size(); ++at) {
    if (answer.outputs(at).name() != "probabilities") continue;
    std::cout << "probabilities";
    std::cout.precision(9);
    const std::string& raw = answer.raw_output_contents(at);
    for (std::size_t offset = 0; offset < raw.size(); offset += sizeof(float)) {
      float value;
      std::memcpy(&value, &raw[offset], sizeof value);
      std::cout << " " << value;
    }
    std::cout << "\n";
  }

  question.set_name("no-such-model");
  const grpc::Status refused = client->ModelMetadata(context().get(), question, &found);
  std::cout << "status " << refused.error_code() << ": " << refused.error_message() << "\n";
}
