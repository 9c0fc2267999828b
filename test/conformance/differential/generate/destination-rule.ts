// DestinationRules with every field of trafficPolicy.
import type { Draw } from './draw.ts'
import { anyHost, exportTo, labels, PORTS, SUBSETS } from './vocabulary.ts'

const ANY_LOCALITY = ['r1/z1/*', 'r1/*', 'r2/*', '*', 'r1/z1/s1', 'r1/z2/*']

export function localityLb(draw: Draw): object {
  const setting = draw.either<object>(
    () => ({
      distribute: draw.some(ANY_LOCALITY, 1, 1).map((from) => ({
        from,
        to: draw.pick([{ 'r1/z1/*': 70, 'r2/*': 30 }, { 'r1/*': 100 }, { '*': 100 }, { 'r1/z2/*': 20, 'r2/z3/*': 80 }]),
      })),
    }),
    () => ({ failover: [{ from: 'r1', to: draw.pick(['r2', 'r3']) }] }),
    () => ({
      failoverPriority: draw.pick([
        ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone'],
        ['version'],
        ['version=v2', 'topology.istio.io/network'],
        ['topology.kubernetes.io/region=r2'],
      ]),
    }),
    () => ({}),
  )
  return { ...setting, enabled: draw.maybe(0.4, () => draw.chance(0.6)) }
}

export function zoneAwareLb(draw: Draw): object {
  return {
    enabled: draw.maybe(0.6, () => draw.chance(0.8)),
    minClusterSize: draw.maybe(0.4, () => draw.pick([1, 6])),
    ...draw.pick<object>([
      {},
      { failover: [{ from: 'r1', to: 'r2' }] },
      { failoverPriority: ['version', 'topology.istio.io/network'] },
    ]),
  }
}

function loadBalancer(draw: Draw): object {
  const kind = draw.either<object>(
    () => ({
      simple: draw.pick(['ROUND_ROBIN', 'LEAST_REQUEST', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'UNSPECIFIED']),
    }),
    () => ({ simple: draw.pick(['ROUND_ROBIN', 'LEAST_REQUEST']) }),
    () => ({
      consistentHash: {
        ...draw.either<object>(
          () => ({ httpHeaderName: 'x-user' }),
          () => ({
            httpCookie: {
              name: 'c',
              path: draw.maybe(0.5, () => '/p'),
              ttl: draw.maybe(0.6, () => draw.pick(['0s', '60s', '1.5s'])),
              attributes: draw.maybe(0.3, () => [{ name: 'SameSite', value: 'Lax' }]),
            },
          }),
          () => ({ useSourceIp: true }),
          () => ({ httpQueryParameterName: 'q' }),
        ),
        ...draw.either<object>(
          () => ({}),
          () => ({ minimumRingSize: draw.pick([0, 512, 2048]) }),
          () => ({ ringHash: { minimumRingSize: draw.maybe(0.7, () => 4096) } }),
          () => ({ maglev: { tableSize: draw.maybe(0.7, () => 65537) } }),
        ),
      },
    }),
  )
  return {
    ...kind,
    ...draw.either<object>(
      () => ({ localityLbSetting: draw.maybe(0.45, () => localityLb(draw)) }),
      () => ({ localityLbSetting: draw.maybe(0.45, () => localityLb(draw)) }),
      () => ({ zoneAwareLbSetting: draw.maybe(0.4, () => zoneAwareLb(draw)) }),
    ),
    ...draw.either<object>(
      () => ({}),
      () => ({}),
      () => ({ warmupDurationSecs: draw.duration() }),
      () => ({
        warmup: {
          duration: draw.duration(),
          minimumPercent: draw.maybe(0.5, () => draw.pick([0, 10, 50])),
          aggression: draw.maybe(0.5, () => draw.pick([1, 1.5])),
        },
      }),
    ),
  }
}

export function connectionPool(draw: Draw): object {
  const made = {
    tcp: draw.maybe(0.6, () => ({
      maxConnections: draw.maybe(0.5, () => draw.pick([1, 100, 2147483647])),
      connectTimeout: draw.maybe(0.5, () => draw.duration(9)),
      tcpKeepalive: draw.maybe(0.3, () => ({
        probes: draw.maybe(0.5, () => 3),
        time: draw.maybe(0.5, () => '7200s'),
        interval: draw.maybe(0.5, () => '75s'),
      })),
      maxConnectionDuration: draw.maybe(0.2, () => draw.duration()),
      idleTimeout: draw.maybe(0.25, () => draw.pick(['0s', '10s', '2h'])),
    })),
    http: draw.maybe(0.6, () => ({
      http1MaxPendingRequests: draw.maybe(0.4, () => draw.between(1, 50)),
      http2MaxRequests: draw.maybe(0.4, () => draw.between(1, 50)),
      maxRequestsPerConnection: draw.maybe(0.4, () => draw.between(0, 5)),
      maxRetries: draw.maybe(0.4, () => draw.between(1, 5)),
      idleTimeout: draw.maybe(0.3, () => draw.pick(['10s', '1h'])),
      ...draw.either<object>(
        () => ({ h2UpgradePolicy: draw.maybe(0.5, () => draw.pick(['DEFAULT', 'UPGRADE', 'DO_NOT_UPGRADE'])) }),
        () => ({ useClientProtocol: draw.maybe(0.4, () => draw.chance(0.7)) }),
      ),
      maxConcurrentStreams: draw.maybe(0.2, () => 100),
      http2KeepAlive: draw.maybe(0.12, () => ({ interval: '30s', timeout: '5s' })),
    })),
  }
  return made.tcp || made.http ? made : { tcp: { maxConnections: 5 } }
}

export function outlierDetection(draw: Draw): object {
  return {
    consecutiveErrors: draw.maybe(0.05, () => 4),
    consecutive5xxErrors: draw.maybe(0.5, () => draw.between(0, 9)),
    consecutiveGatewayErrors: draw.maybe(0.4, () => draw.between(0, 9)),
    ...(draw.chance(0.3) && {
      splitExternalLocalOriginErrors: true,
      consecutiveLocalOriginFailures: draw.maybe(0.6, () => draw.between(0, 9)),
    }),
    interval: draw.maybe(0.5, () => draw.duration()),
    baseEjectionTime: draw.maybe(0.5, () => draw.duration()),
    maxEjectionPercent: draw.maybe(0.4, () => draw.between(0, 100)),
    minHealthPercent: draw.maybe(0.3, () => draw.between(0, 100)),
    outlierDetectionHttpErrorCodes: draw.maybe(0.05, () => [500, 503]),
  }
}

export function clientTls(draw: Draw): object {
  const mode = draw.pick(['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL', 'ISTIO_MUTUAL'])
  if (mode === 'DISABLE') return { mode }
  if (mode === 'ISTIO_MUTUAL') {
    return {
      mode,
      sni: draw.maybe(0.15, () => 'sni.com'),
      subjectAltNames: draw.maybe(0.15, () => ['spiffe://x/ns/a/sa/b']),
    }
  }
  const common = {
    mode,
    sni: draw.maybe(0.4, () => 'sni.com'),
    subjectAltNames: draw.maybe(0.4, () => draw.some(['a.com', '*.b.com', 'spiffe://td/ns/n/sa/s'], 1, 2)),
    insecureSkipVerify: draw.maybe(0.15, () => draw.chance(0.8)),
  }
  if (draw.chance(0.3)) return { ...common, credentialName: 'cred' }
  return {
    ...common,
    caCertificates: draw.maybe(0.5, () => draw.pick(['/etc/ca.pem', 'system'])),
    caCrl: draw.maybe(0.1, () => '/etc/crl.pem'),
    ...(mode === 'MUTUAL' && { clientCertificate: '/etc/cert.pem', privateKey: '/etc/key.pem' }),
  }
}

const blocks = (draw: Draw) => ({
  loadBalancer: draw.maybe(0.45, () => loadBalancer(draw)),
  connectionPool: draw.maybe(0.4, () => connectionPool(draw)),
  outlierDetection: draw.maybe(0.4, () => outlierDetection(draw)),
  tls: draw.maybe(0.4, () => clientTls(draw)),
})

const filled = (draw: Draw): object => {
  const made = blocks(draw)
  return Object.values(made).some((block) => block) ? made : { ...made, outlierDetection: { consecutive5xxErrors: 3 } }
}

function trafficPolicy(draw: Draw): object {
  const tunnels = draw.chance(0.08)
  return {
    ...filled(draw),
    portLevelSettings: draw.maybe(0.3, () =>
      draw.some(PORTS, 1, 2).map((number) => ({ port: { number }, ...filled(draw) })),
    ),
    tunnel: !tunnels
      ? undefined
      : {
          protocol: draw.maybe(0.7, () => draw.pick(['CONNECT', 'POST'])),
          targetHost: draw.pick(['target.example.com', '10.0.0.9']),
          targetPort: 8443,
        },
    proxyProtocol: tunnels ? undefined : draw.maybe(0.1, () => ({ version: draw.pick(['V1', 'V2']) })),
    retryBudget: draw.maybe(0.1, () => ({
      percent: draw.maybe(0.7, () => draw.pick([0.5, 20, 100])),
      minRetryConcurrency: draw.maybe(0.5, () => draw.between(0, 9)),
      budgetInterval: draw.maybe(0.3, () => draw.duration()),
    })),
  }
}

/** The spec of a DestinationRule. */
export function destinationRule(draw: Draw): object {
  const selects = draw.chance(0.12)
  return {
    host: anyHost(draw),
    trafficPolicy: draw.maybe(0.75, () => trafficPolicy(draw)),
    subsets: draw.maybe(0.6, () =>
      draw.some(SUBSETS, 1, 2).map((name) => ({
        name,
        labels: draw.maybe(0.9, () => (draw.chance(0.8) ? { version: name } : labels(draw))),
        trafficPolicy: draw.maybe(0.4, () => trafficPolicy(draw)),
      })),
    ),
    workloadSelector: selects ? { matchLabels: labels(draw) } : undefined,
    exportTo: selects ? undefined : exportTo(draw),
  }
}
