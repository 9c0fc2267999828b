package main

import (
	"encoding/json"
	"regexp"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/gateway-api/pkg/consts"
	"sigs.k8s.io/yaml"

	"istio.io/istio/pilot/pkg/config/kube/gateway"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/status"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvr"
	kubelib "istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/kclient/clienttest"
)

// installGatewayAPI gives the fake API server the definitions of the Gateway API with the version that istiod asks of
// them. The test server installs some without a version, and istiod then ignores all objects of these kinds.
func installGatewayAPI(p *process) func(kubelib.Client) {
	return func(client kubelib.Client) {
		annotated := func(action clienttesting.Action) (bool, runtime.Object, error) {
			if definition, ok := action.(clienttesting.CreateAction).GetObject().(*metav1.PartialObjectMetadata); ok {
				definition.Annotations = map[string]string{consts.BundleVersionAnnotation: consts.BundleVersion}
			}
			return false, nil, nil
		}
		fake := client.Metadata().(*metadatafake.FakeMetadataClient)
		fake.PrependReactor("create", gvr.CustomResourceDefinition.Resource, annotated)
		fake.PrependReactor("update", gvr.CustomResourceDefinition.Resource, annotated)
		clienttest.MakeCRD(p, client, gvr.BackendTLSPolicy)
		clienttest.MakeCRD(p, client, gvr.ListenerSet)
		clienttest.MakeCRD(p, client, gvr.XBackendTrafficPolicy)
	}
}

// serviceEntries are what istiod's Gateway API controller reads from the API server itself.
func serviceEntries(istio string) []string {
	var out []string
	for _, document := range documents.Split(istio, -1) {
		if entryKind.MatchString(document) {
			out = append(out, document)
		}
	}
	return out
}

var entryKind = regexp.MustCompile(`(?m)^kind:\s*"?ServiceEntry"?\s*$`)

// statuses takes what istiod writes into the status of Gateway API objects.
type statuses struct {
	model.ConfigStore // not used
	generations       map[string]int64
	mutex             sync.Mutex
	written           map[string]any
	changed           time.Time
}

func statusKey(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// captureStatuses makes istiod write statuses, as the leader among its replicas does.
func captureStatuses(server *xds.FakeDiscoveryServer, kubernetes string) *statuses {
	store := &statuses{generations: map[string]int64{}, written: map[string]any{}, changed: time.Now()}
	for _, document := range documents.Split(kubernetes, -1) {
		var object metav1.PartialObjectMetadata
		if yaml.Unmarshal([]byte(document), &object) == nil {
			store.generations[statusKey(object.Kind, object.Namespace, object.Name)] = object.Generation
		}
	}
	manager := status.NewManager(store)
	server.Env().GatewayAPIController.(*gateway.Controller).SetStatusWrite(true, manager)
	return store
}

func (s *statuses) Get(kind config.GroupVersionKind, name, namespace string) *config.Config {
	generation := s.generations[statusKey(kind.Kind, namespace, name)]
	meta := config.Meta{GroupVersionKind: kind, Name: name, Namespace: namespace, Generation: generation}
	return &config.Config{Meta: meta}
}

func (s *statuses) UpdateStatus(c config.Config) (string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.written[statusKey(c.GroupVersionKind.Kind, c.Namespace, c.Name)] = c.Status
	s.changed = time.Now()
	return "", nil
}

// settled is everything written, once nothing more has come for a while.
func (s *statuses) settled() (string, error) {
	for {
		s.mutex.Lock()
		quiet := time.Since(s.changed)
		if quiet >= settleTime {
			text, err := json.Marshal(s.written)
			s.mutex.Unlock()
			return string(text), err
		}
		s.mutex.Unlock()
		time.Sleep(settleTime - quiet)
	}
}

const settleTime = 300 * time.Millisecond
