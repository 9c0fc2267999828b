// What an API server with Istio's CRDs and istiod's webhook say of objects: `validate CRDS < OBJECTS`, where CRDS is
// Istio's file of CRDs and every line of OBJECTS one object as JSON; the spec of kind MeshConfig is read as istiod reads
// its own settings. The last line of standard output is the JSON list of
// verdicts.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	crdschema "istio.io/istio/pkg/config/crd"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
)

// verdict is what an API server with Istio's CRDs and istiod's webhook says of one object.
type verdict struct {
	// CRD is why the CRD's schema refuses it; istiod is not asked then.
	CRD string `json:"crd,omitempty"`
	// Error is why istiod refuses it.
	Error string `json:"error,omitempty"`
	// Warning is what istiod says of what it takes.
	Warning string `json:"warning,omitempty"`
}

func main() {
	schemas, err := crdschema.NewValidatorFromFilesWithOptions(os.Args[1:2], crdschema.WithoutCRDValidation())
	if err != nil {
		fail(err)
	}
	verdicts := []verdict{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		verdicts = append(verdicts, judge(schemas, lines.Bytes()))
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func judge(schemas *crdschema.Validator, line []byte) verdict {
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(line); err != nil {
		return verdict{CRD: err.Error()}
	}
	if object.GetKind() == "MeshConfig" {
		return judgeMesh(object.Object["spec"])
	}
	if err := schemas.ValidateCustomResource(&object); err != nil {
		return verdict{CRD: err.Error()}
	}
	// As the webhook does it: protobuf JSON, then the validator of the kind.
	var kind crd.IstioKind
	if err := json.Unmarshal(line, &kind); err != nil {
		return verdict{Error: err.Error()}
	}
	gvk := kind.GroupVersionKind()
	schema, found := collections.PilotGatewayAPI().FindByGroupKind(resource.FromKubernetesGVK(&gvk))
	if !found {
		return verdict{Error: "unrecognized type " + gvk.String()}
	}
	converted, err := crd.ConvertObject(schema, &kind, "cluster.local")
	if err != nil {
		return verdict{Error: err.Error()}
	}
	warning, err := schema.ValidateConfig(*converted)
	answer := verdict{}
	if warning != nil {
		answer.Warning = warning.Error()
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer
}

func judgeMesh(spec any) verdict {
	text, err := json.Marshal(spec)
	if err == nil {
		_, err = mesh.ApplyMeshConfigDefaults(string(text))
	}
	if err != nil {
		return verdict{Error: err.Error()}
	}
	return verdict{}
}
