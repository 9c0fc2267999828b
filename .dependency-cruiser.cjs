// The arrows of ARCHITECTURE.md: which room may import which. Each rule says why it exists.
/** @type {(name: string, may: string[], comment: string) => object} */
const room = (name, may, comment) => ({
  name: `room-${name}`,
  comment,
  severity: 'error',
  from: { path: `^src/${name}/` },
  to: { path: '^src/', pathNot: [`^src/${name}/`, ...may.map((m) => `^src/${m}`)] },
})

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'A cycle has no order of understanding; split what both need into a third file.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/api/gen/' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    room('api', [], 'api holds wire types only: no logic, so it needs nobody.'),
    room('base', [], 'base is domain-free; what knows Envoy, Istio or Kubernetes belongs to another room.'),
    room(
      'xds',
      ['api/', 'base/'],
      'xds is transport: stream state, ACK and NACK. It must not know what the resources mean.',
    ),
    room(
      'proxy',
      ['api/', 'base/', 'xds/'],
      'proxy knows Envoy configuration only; the day it reads an Istio resource, stock istiod can no longer drive it.',
    ),
    room(
      'config',
      ['api/', 'base/'],
      'config parses and checks Istio resources; it must work offline, without cluster or pilot.',
    ),
    room(
      'cluster',
      ['api/', 'base/', 'config/index.ts'],
      'cluster is Kubernetes as we see it: stores and watches, no mesh semantics.',
    ),
    room(
      'pilot',
      ['api/', 'base/', 'xds/', 'config/', 'cluster/', 'security/index.ts'],
      'pilot produces Envoy configuration and must never depend on our own proxy, or stock Envoy becomes second class.',
    ),
    room('security', ['api/', 'base/'], 'security is keys and certificates: usable by pilot and agent alike.'),
    room(
      'agent',
      ['api/', 'base/', 'xds/', 'security/', 'proxy/index.ts'],
      'agent sees the proxy through its public entry point only, as it sees an Envoy binary.',
    ),
    room(
      'local',
      ['api/', 'base/', 'cluster/', 'config/index.ts', 'security/index.ts', 'pilot/index.ts'],
      'local is a tiny Kubernetes; it starts pilot and agents, it does not reach into them.',
    ),
    room(
      'explain',
      ['api/', 'base/', 'proxy/index.ts', 'pilot/index.ts', 'config/index.ts', 'cluster/index.ts'],
      'explain joins the pure deciders through the public entry points of the rooms.',
    ),
    room(
      'cli',
      ['api/', 'base/', '[a-z]+/index.ts'],
      'cli sees every room through its index.ts, so that rooms can change inside.',
    ),
    {
      name: 'no-dev-dependency-in-src',
      comment: 'What src imports must be installed with the published package.',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$|/testing[^/]*(/|\\.ts$)' },
      to: { dependencyTypes: ['npm-dev'] },
    },
  ],
  options: {
    // Its default parser is TypeScript's before version 7: with a newer one it sees no file, and says nothing.
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules|^src/api/gen/' },
    exclude: { path: '\\.test\\.ts$' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.js', '.mjs', '.json'],
    },
  },
}
