package main

import (
	"google.golang.org/grpc/metadata"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/security"
)

// identityHeader names who a client without a certificate says it is, as a SPIFFE identity.
const identityHeader = "identity"

// believing takes clients for who they say they are: istiod gives secrets to proven identities only. XDS_AUTH_PLAINTEXT
// makes it ask at all where there is no TLS.
type believing struct{}

func (believing) AuthenticatorType() string { return "believing" }

func (believing) Authenticate(context security.AuthContext) (*security.Caller, error) {
	caller := &security.Caller{AuthSource: security.AuthSourceClientCertificate}
	if sent, ok := metadata.FromIncomingContext(context.GrpcContext); ok {
		caller.Identities = sent.Get(identityHeader)
	}
	return caller, nil
}

func believeClients(server *xds.FakeDiscoveryServer) {
	server.Discovery.Authenticators = []security.Authenticator{believing{}}
}
