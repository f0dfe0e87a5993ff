import com.google.gson.Gson;
import com.google.protobuf.ByteString;
import inference.GRPCInferenceServiceGrpc;
import inference.GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub;
import inference.Inference.ModelInferRequest;
import inference.Inference.ModelInferRequest.InferInputTensor;
import inference.Inference.ModelInferResponse;
import inference.Inference.ModelMetadataRequest;
import inference.Inference.ModelMetadataResponse;
import inference.Inference.ModelMetadataResponse.TensorMetadata;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * Asks a model what it takes, scores one row, and shows what a refusal looks like: {@code Call [ADDRESS [MODEL]]}.
 * WIDEDEEP_CA names a PEM file of the authority of the server's certificate, WIDEDEEP_TOKEN holds a bearer token.
 */
public final class Call {
  public static void main(String[] arguments) throws Exception {
    String address = arguments.length > 0 ? arguments[0] : "localhost:8001";
    String model = arguments.length > 1 ? arguments[1] : "digits";
    ManagedChannel channel = connect(address, System.getenv("WIDEDEEP_CA"));
    GRPCInferenceServiceBlockingStub client = GRPCInferenceServiceGrpc.newBlockingStub(channel);
    String token = System.getenv("WIDEDEEP_TOKEN");
    if (token != null) {
      Metadata headers = new Metadata();
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
      client = client.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
    }

    ModelMetadataRequest question = ModelMetadataRequest.newBuilder().setName(model).build();
    ModelMetadataResponse found = inTime(client).modelMetadata(question);
    String names = found.getInputsList().stream().map(TensorMetadata::getName).collect(Collectors.joining(", "));
    System.out.printf("%s version %s takes %s%n", model, found.getVersions(found.getVersionsCount() - 1), names);

    ModelInferRequest.Builder request = ModelInferRequest.newBuilder().setModelName(model);
    for (TensorMetadata input : found.getInputsList()) {
      InferInputTensor.Builder tensor = request.addInputsBuilder().setName(input.getName());
      tensor.setDatatype(input.getDatatype()).addAllShape(input.getShapeList()).setShape(0, 1); // one row
      int size = (int) tensor.getShapeList().stream().mapToLong(Long::longValue).reduce(1, (a, b) -> a * b);
      ByteBuffer raw = ByteBuffer.allocate(4 * size).order(ByteOrder.LITTLE_ENDIAN);
      for (int i = 0; i < size; i++) raw.putFloat((i % 8) / 8f);
      request.addRawInputContents(ByteString.copyFrom(raw.flip()));
    }
    ModelInferResponse answer = inTime(client).modelInfer(request.build());
    for (int at = 0; at < answer.getOutputsCount(); at++) {
      if (!answer.getOutputs(at).getName().equals("probabilities")) continue;
      System.out.print("probabilities");
      ByteBuffer raw = answer.getRawOutputContents(at).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
      while (raw.hasRemaining()) System.out.print(" " + raw.getFloat());
      System.out.println();
    }

    try {
      inTime(client).modelMetadata(ModelMetadataRequest.newBuilder().setName("no-such-model").build());
    } catch (StatusRuntimeException error) {
      System.out.printf("status %d: %s%n", error.getStatus().getCode().value(), error.getStatus().getDescription());
    }
    channel.shutdownNow();
  }

  private static ManagedChannel connect(String address, String ca) throws Exception {
    Map<?, ?> json = new Gson().fromJson(Files.readString(Path.of("../service_config.json")), Map.class);
    @SuppressWarnings("unchecked")
    Map<String, ?> serviceConfig = (Map<String, ?>) json; // retries, balancing
    NettyChannelBuilder builder =
        NettyChannelBuilder.forTarget(address).defaultServiceConfig(serviceConfig).enableRetry();
    if (ca == null) return builder.usePlaintext().build();
    return builder.sslContext(GrpcSslContexts.forClient().trustManager(new File(ca)).build()).build();
  }

  /** Gives a call 5 seconds from now, retries and all. */
  private static GRPCInferenceServiceBlockingStub inTime(GRPCInferenceServiceBlockingStub client) {
    return client.withDeadlineAfter(5, TimeUnit.SECONDS);
  }
}
