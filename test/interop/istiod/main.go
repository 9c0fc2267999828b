// Istio's own discovery server, listening on TCP, for the proof that our proxy obeys stock istiod.
//
// It is the server that Istio's tests use: the real service registry over a fake Kubernetes API server, the real push
// context, generators and ADS. Started with a file of objects; reads commands from standard input, one a line:
//
//	apply FILE     create or replace the Istio resources in FILE
//	delete FILE    delete them
//	kube FILE      create or replace the Kubernetes objects in FILE
//	mesh FILE      the MeshConfig that istiod makes of FILE, as JSON; nothing changes
//	networks FILE  the same of MeshNetworks
//	proxy FILE     the ProxyConfig that FILE makes of the mesh's default one, as JSON
//	statuses       the statuses of Gateway API objects by Kind/namespace/name, as JSON
//
// and answers each with "ok", "ok JSON" or "error TEXT". Ends when standard input does. Metrics stand beside the debug
// pages, under /metrics.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes/fake"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	kubelib "istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/monitoring"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/util/protomarshal"
)

// process stands in for a test: what fails ends the program.
type process struct{ cleanups []func() }

func (p *process) Fail()             { os.Exit(1) }
func (p *process) FailNow()          { os.Exit(1) }
func (p *process) Fatal(args ...any) { fmt.Fprintln(os.Stderr, args...); os.Exit(1) }
func (p *process) Fatalf(format string, a ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", a...)
	os.Exit(1)
}
func (p *process) Log(args ...any)              { fmt.Fprintln(os.Stderr, args...) }
func (p *process) Logf(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }
func (p *process) TempDir() string              { return os.TempDir() }
func (p *process) Helper()                      {}
func (p *process) Cleanup(f func())             { p.cleanups = append(p.cleanups, f) }
func (p *process) Skip(args ...any)             { p.Fatal(args...) }

var _ test.Failer = &process{}

var (
	documents = regexp.MustCompile(`(?m)^---\s*$`)
	istioKind = regexp.MustCompile(`(?m)^apiVersion:\s*"?[a-z]+\.istio\.io/`)
	anything  = regexp.MustCompile(`(?m)^kind:`)
)

// split separates Istio resources from Kubernetes objects; Istio's server takes them apart.
func split(file string) (istio, kubernetes string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	var ours, theirs []string
	for _, document := range documents.Split(string(text), -1) {
		switch {
		case istioKind.MatchString(document):
			ours = append(ours, document)
		case anything.MatchString(document):
			theirs = append(theirs, document)
		}
	}
	return strings.Join(ours, "\n---\n"), strings.Join(theirs, "\n---\n"), nil
}

func configs(file string) ([]config.Config, error) {
	istio, _, err := split(file)
	if err != nil {
		return nil, err
	}
	parsed, _, err := crd.ParseInputs(istio)
	now := time.Now()
	for i := range parsed {
		if parsed[i].CreationTimestamp.IsZero() {
			parsed[i].CreationTimestamp = now
		}
		if parsed[i].Namespace == "" {
			parsed[i].Namespace = "default"
		}
		parsed[i].Domain = "cluster.local"
	}
	return parsed, err
}

// read is what istiod makes of a file of mesh settings.
func read(word, file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var message proto.Message
	switch word {
	case "mesh":
		message, err = mesh.ApplyMeshConfigDefaults(string(text))
	case "networks":
		message, err = mesh.ParseMeshNetworks(string(text))
	default:
		message, err = mesh.MergeProxyConfig(string(text), mesh.DefaultProxyConfig())
	}
	if err != nil {
		return "", err
	}
	return protomarshal.ToJSON(message)
}

// kube puts Kubernetes objects into the fake API server, whose watches tell istiod.
func kube(server *xds.FakeDiscoveryServer, file string) error {
	_, kubernetes, err := split(file)
	if err != nil {
		return err
	}
	tracker := server.KubeClient().Kube().(*fake.Clientset).Tracker()
	for _, document := range strings.Split(kubernetes, "\n---\n") {
		object, kind, err := kubelib.IstioCodec.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			return err
		}
		resource, _ := meta.UnsafeGuessKindToResource(*kind)
		namespace := object.(interface{ GetNamespace() string }).GetNamespace()
		name := object.(interface{ GetName() string }).GetName()
		if _, missing := tracker.Get(resource, namespace, name); missing != nil {
			err = tracker.Create(resource, object, namespace)
		} else {
			err = tracker.Update(resource, object, namespace)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func run(server *xds.FakeDiscoveryServer, word, file string) error {
	if word == "kube" {
		return kube(server, file)
	}
	resources, err := configs(file)
	if err != nil {
		return err
	}
	store := server.Store()
	for _, resource := range resources {
		existing := store.Get(resource.GroupVersionKind, resource.Name, resource.Namespace)
		switch {
		case word == "delete":
			err = store.Delete(resource.GroupVersionKind, resource.Name, resource.Namespace, nil)
		case word != "apply":
			err = fmt.Errorf("unknown command %q", word)
		case existing == nil:
			_, err = store.Create(resource)
		default:
			resource.ResourceVersion = existing.ResourceVersion
			_, err = store.Update(resource)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func main() {
	input := flag.String("input", "", "file of Kubernetes objects and Istio resources")
	meshFile := flag.String("mesh", "", "file of a MeshConfig laid over Istio's default")
	networksFile := flag.String("networks", "", "file of MeshNetworks")
	xdsAddress := flag.String("xds", "127.0.0.1:0", "address for xDS, plaintext")
	debugAddress := flag.String("debug", "127.0.0.1:0", "address for the debug pages")
	flag.Parse()

	p := &process{}
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"} // standard output is for answers
	if err := log.Configure(options); err != nil {
		p.Fatal(err)
	}
	istio, kubernetes, err := split(*input)
	if err != nil {
		p.Fatal(err)
	}
	kubernetes = strings.Join(append([]string{kubernetes}, serviceEntries(istio)...), "\n---\n")
	resources, err := configs(*input)
	if err != nil {
		p.Fatal(err)
	}
	meshConfig := mesh.DefaultMeshConfig()
	if *meshFile != "" {
		text, err := os.ReadFile(*meshFile)
		if err == nil {
			meshConfig, err = mesh.ApplyMeshConfig(string(text), meshConfig)
		}
		if err != nil {
			p.Fatal(err)
		}
	}
	var networks mesh.NetworksWatcher
	if *networksFile != "" {
		parsed, err := mesh.ReadMeshNetworks(*networksFile)
		if err != nil {
			p.Fatal(err)
		}
		networks = meshwatcher.NewFixedNetworksWatcher(parsed)
	}
	metrics, err := monitoring.RegisterPrometheusExporter(nil, nil)
	if err != nil {
		p.Fatal(err)
	}
	listener, err := net.Listen("tcp", *xdsAddress)
	if err != nil {
		p.Fatal(err)
	}
	debug, err := net.Listen("tcp", *debugAddress)
	if err != nil {
		p.Fatal(err)
	}
	server := xds.NewFakeDiscoveryServer(p, xds.FakeOptions{
		KubernetesObjectString:     kubernetes,
		Configs:                    resources,
		MeshConfig:                 meshConfig,
		NetworksWatcher:            networks,
		ListenerBuilder:            func() (net.Listener, error) { return listener, nil },
		DisableSecretAuthorization: true,
		KubeClientModifier:         installGatewayAPI(p),
	})
	gatewayStatuses := captureStatuses(server, kubernetes)
	believeClients(server)
	server.DiscoveryDebug.Handle("/metrics", metrics)
	go func() { p.Fatal(http.Serve(debug, server.DiscoveryDebug)) }()
	fmt.Printf("xds %s debug %s\n", listener.Addr(), debug.Addr())

	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		word, file, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		answer := "ok"
		var err error
		if word == "mesh" || word == "networks" || word == "proxy" {
			var text string
			text, err = read(word, file)
			answer += " " + text
		} else if word == "statuses" {
			var text string
			text, err = gatewayStatuses.settled()
			answer += " " + text
		} else {
			err = run(server, word, file)
		}
		if err != nil {
			answer = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.cleanups[i]()
	}
}
