// Asks a model what it takes, scores one row, and shows what a refusal looks like:
//
//	call [ADDRESS [MODEL]]
//
// WIDEDEEP_CA names a PEM file of the authority of the server's certificate, WIDEDEEP_TOKEN holds a bearer token.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"widedeep/inference" // generated from protos/, see the Makefile
)

func main() {
	address, model := "localhost:8001", "digits"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if len(os.Args) > 2 {
		model = os.Args[2]
	}
	serviceConfig, err := os.ReadFile("../service_config.json") // retries, balancing
	check(err)
	security := grpc.WithInsecure()
	if ca := os.Getenv("WIDEDEEP_CA"); ca != "" {
		tls, err := credentials.NewClientTLSFromFile(ca, "")
		check(err)
		security = grpc.WithTransportCredentials(tls)
	}
	// "dns:///" asks for all addresses of the name, which round robin needs.
	connection, err := grpc.Dial("dns:///"+address, security, grpc.WithDefaultServiceConfig(string(serviceConfig)))
	check(err)
	defer connection.Close()
	client := inference.NewGRPCInferenceServiceClient(connection)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // for all three calls, retries and all
	defer cancel()
	if token := os.Getenv("WIDEDEEP_TOKEN"); token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}

	found, err := client.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: model})
	check(err)
	request := &inference.ModelInferRequest{ModelName: model}
	var names []string
	for _, input := range found.Inputs {
		names = append(names, input.Name)
		shape, size := []int64{1}, 1
		for _, length := range input.Shape[1:] {
			shape, size = append(shape, length), size*int(length)
		}
		raw := make([]byte, 4*size) // float32, little-endian whatever the machine
		for i := 0; i < size; i++ {
			binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(float32(i%8)/8))
		}
		request.Inputs = append(request.Inputs, &inference.ModelInferRequest_InferInputTensor{
			Name: input.Name, Datatype: input.Datatype, Shape: shape})
		request.RawInputContents = append(request.RawInputContents, raw)
	}
	version := found.Versions[len(found.Versions)-1]
	fmt.Printf("%s version %s takes %s\n", model, version, strings.Join(names, ", "))

	answer, err := client.ModelInfer(ctx, request)
	check(err)
	for at, output := range answer.Outputs {
		if output.Name == "probabilities" {
			fmt.Print(output.Name)
			for raw := answer.RawOutputContents[at]; len(raw) > 0; raw = raw[4:] {
				fmt.Printf(" %.9g", math.Float32frombits(binary.LittleEndian.Uint32(raw)))
			}
			fmt.Println()
		}
	}

	if _, err = client.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "no-such-model"}); err != nil {
		fmt.Printf("status %d: %s\n", status.Code(err), status.Convert(err).Message())
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
