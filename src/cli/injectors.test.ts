import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_INJECTOR, judgeInjectors } from './injectors.ts'

test('the reason for or against injection is the label that decides', () => {
  const cases: [namespace: Record<string, string>, pod: Record<string, string>, injected: boolean, reason: string][] = [
    [{ 'istio-injection': 'enabled' }, {}, true, 'Namespace label istio-injection=enabled matches'],
    [
      { 'istio-injection': 'enabled' },
      { 'sidecar.istio.io/inject': 'true' },
      true,
      'Namespace label istio-injection=enabled matches, and pod label sidecar.istio.io/inject=true matches',
    ],
    [
      { 'istio-injection': 'enabled' },
      { 'sidecar.istio.io/inject': 'false' },
      false,
      'Pod has sidecar.istio.io/inject=false label, preventing injection',
    ],
    [{}, { 'sidecar.istio.io/inject': 'true' }, true, 'Pod label sidecar.istio.io/inject=true matches'],
    [{ 'istio.io/rev': 'default' }, {}, true, 'Namespace label istio.io/rev=default matches'],
    [
      { 'istio-injection': 'disabled' },
      {},
      false,
      'Namespace has istio-injection=disabled label, preventing injection',
    ],
    [
      {},
      {},
      false,
      'No matching namespace labels (istio.io/rev=default, istio-injection=enabled) or pod labels (istio.io/rev=default, sidecar.istio.io/inject=true)',
    ],
  ]
  for (const [namespace, pod, injected, reason] of cases) {
    assert.deepEqual(judgeInjectors([DEFAULT_INJECTOR], pod, namespace), [
      { name: 'istio-sidecar-injector', revision: 'default', injected, reason },
    ])
  }
})
