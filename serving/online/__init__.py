"""The online server: admission, batching, the repository of servables, and the gRPC service over them."""
