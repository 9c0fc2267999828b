// How commands reach the pods and the control plane of a running mesh.

/** A pod by name. */
export interface PodRef {
  readonly namespace: string
  readonly name: string
}

export interface HttpAnswer {
  readonly status: number
  readonly body: string
}

/** A running mesh. Every method throws UserError when the mesh or the target is not there. */
export interface MeshAccess {
  /** Finds the pod that `name`, `name.namespace`, `deployment/name` or `pod/name` stands for. */
  findPod(text: string, namespace: string): Promise<PodRef>
  /** Requests a port of the pod's loopback interface. */
  podRequest(pod: PodRef, port: number, method: 'GET' | 'POST', path: string): Promise<HttpAnswer>
  /** Requests the control plane's debug pages. */
  pilotRequest(path: string): Promise<HttpAnswer>
  /** Requests the control plane's log scopes (ControlZ). */
  controlZRequest(method: 'GET' | 'PUT', path: string, json?: string): Promise<HttpAnswer>
  /** The last lines of a container's log. */
  podLog(pod: PodRef, container: string, lines: number): Promise<string>
  /** Objects of one kind (`Service`, `VirtualService`, …); every namespace when none is given. */
  objects(kind: string, namespace?: string): Promise<readonly MeshObject[]>
}

/** An object of the mesh, as the Kubernetes API has it. */
export interface MeshObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly uid?: string
    readonly creationTimestamp?: string
  }
  readonly spec?: unknown
  readonly status?: unknown
}
