/**
 * The files of docs/deploy against the project: what they name exists, what they set is read, and what belongs together
 * agrees. deploy-run.test.ts starts what they start. There is no Docker and no Kubernetes.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { ENV } from '#shared/env.ts'
import packageJson from '../package.json' with { type: 'json' }
import { leaseTimes } from '../services/mail/owner/lease-times.ts'
import {
  compose,
  copies,
  environmentOf,
  interpolated,
  manifests,
  ofImage,
  probesOf,
  read,
  serviceNamed,
  serviceOf,
  workload,
} from './support/deploy.ts'
import { NODE_OPTIONS } from './support/instance.ts'

const ROOT = join(import.meta.dirname, '..')
const DRAIN_S = leaseTimes(Number(ENV.MAIL_LEASE_SILENCE_MS.fallback)).drainMs / 1000
const sorted = (names: Iterable<string>): string[] => [...names].toSorted()
const MAIL = workload('StatefulSet')
const BRIDGE = workload('Deployment')
const OURS = ofImage()
const program = (command: readonly string[]): 'mail' | 'http' => {
  const script = command.at(-1) ?? ''
  assert.ok(existsSync(join(ROOT, script)), command.join(' '))
  return script === 'services/mail/main.js' ? 'mail' : 'http'
}

test('every variable is one that its program reads, and has a value that the program accepts', () => {
  const given: [string[], [string, string][]][] = [
    ...[MAIL, BRIDGE].map(({ spec }): [string[], [string, string][]] => {
      const [container] = spec.template.spec.containers
      const values = [...environmentOf(container)].flatMap(([name, value]): [string, string][] => [
        [name, 'value' in value ? value.value : ''],
      ])
      return [container.command, values]
    }),
    ...OURS.map(([, { command, environment }]): [string[], [string, string][]] => [
      command,
      Object.entries(environment).map(([name, text]) => [name, text.startsWith('$') ? '' : text]),
    ]),
  ]
  for (const [command, values] of given)
    for (const [name, value] of values) {
      const variable = ENV[name as keyof typeof ENV]
      assert.ok(
        variable?.programs.some((one) => one === program(command)),
        `${command.at(-1)} does not read ${name}`,
      )
      if (value !== '') variable.parse(value)
    }
  for (const [, name = ''] of read('Dockerfile').matchAll(/(?:^ENV| )([A-Z][A-Z_]+)=/gm))
    assert.ok(name in ENV || name === 'COMMIT', name)
})

test('the values that compose takes from .env are those of .env.example, which holds none, and the users of nats.conf', () => {
  const lines = read('.env.example').split('\n')
  const named = lines.flatMap((line) => /^(\w+)=(.*)$/.exec(line)?.slice(1) ?? [])
  assert.deepEqual(sorted(named.filter((_, i) => i % 2 === 0)), sorted(interpolated()))
  assert.ok(named.every((text, i) => i % 2 === 0 || text === ''))
  const passwords = [...readFileSync(join(ROOT, 'nats.conf'), 'utf8').matchAll(/\$(NATS_\w+)/g)].map(([, name]) => name)
  assert.deepEqual(sorted(Object.keys(serviceNamed('nats').environment)), sorted(passwords.map((name) => name ?? '')))
})

test('the service is started with the same options of Node everywhere', () => {
  const commands = [
    MAIL.spec.template.spec.containers[0].command,
    ...OURS.map(([, { command }]) => command).filter((command) => program(command) === 'mail'),
    JSON.parse(/^CMD (.*)$/m.exec(read('Dockerfile'))?.[1] ?? '[]'),
  ]
  assert.ok(commands.length > 3)
  for (const command of commands) assert.deepEqual(command, ['node', ...NODE_OPTIONS, 'services/mail/main.js'])
  assert.ok(packageJson.scripts.start.startsWith(`node ${NODE_OPTIONS.join(' ')} $(`), packageJson.scripts.start)
})

test('a process is given longer to end than its users take to be handed over', () => {
  assert.ok(MAIL.spec.template.spec.terminationGracePeriodSeconds > DRAIN_S)
  for (const [name, { stop_grace_period: grace }] of OURS)
    assert.ok(Number(/^(\d+)s$/.exec(grace)?.[1]) > DRAIN_S, name)
})

test('every instance has a volume of its own for its data, and nothing else it may write to but /tmp', () => {
  const { template, volumeClaimTemplates = [] } = MAIL.spec
  for (const { containers, securityContext, volumes: shared } of [template.spec, BRIDGE.spec.template.spec]) {
    const [container] = containers
    assert.deepEqual([securityContext.runAsNonRoot, container.securityContext.readOnlyRootFilesystem], [true, true])
    const claimed =
      container === template.spec.containers[0] ? volumeClaimTemplates.map((one) => one.metadata.name) : []
    const mounted = container.volumeMounts.map(({ name }) => name)
    assert.deepEqual(sorted(mounted), sorted([...claimed, ...shared.map(({ name }) => name)]))
    const data = environmentOf(container).get('MAIL_DATA_DIR')
    const mount = container.volumeMounts.find(({ name }) => claimed.includes(name))?.mountPath
    assert.equal(data === undefined ? undefined : dirname('value' in data ? data.value : ''), mount)
  }
  const used = OURS.flatMap(([name, { volumes: own = [], environment, read_only }]) => {
    assert.equal(read_only, true, name)
    for (const mount of own) assert.equal(mount.split(':')[1], environment.MAIL_DATA_DIR)
    return own.map((mount) => mount.split(':')[0] ?? '')
  })
  assert.deepEqual(sorted([...used, 'nats']), sorted(Object.keys(compose().volumes)))
  const names = OURS.flatMap(([, { environment }]) => environment.MAIL_INSTANCE_NAME ?? [])
  assert.deepEqual([names.length, new Set(names).size], [used.length, used.length])
})

test('ports, labels and names agree', () => {
  const workloads = [MAIL, BRIDGE]
  for (const one of workloads) {
    const { spec } = one
    const [container] = spec.template.spec.containers
    assert.deepEqual(spec.selector.matchLabels, spec.template.metadata.labels)
    assert.ok(container.image.endsWith(`/mail-sync:${packageJson.version}`))
    const environment = environmentOf(container)
    const port = environment.get('MAIL_METRICS_PORT') ?? environment.get('HTTP_PORT')
    assert.deepEqual(
      container.ports.map(({ containerPort }) => ({ value: String(containerPort) })),
      [port],
    )
    const [{ name } = assert.fail('no port')] = container.ports
    for (const probe of probesOf(container)) assert.equal(probe.httpGet.port, name)
    const { selector, ports } = serviceOf(one)
    assert.deepEqual([selector, ports[0]?.targetPort], [spec.template.metadata.labels, name])
  }
  assert.equal(MAIL.spec.serviceName, MAIL.metadata.name)
  const budgets = manifests().flatMap((one) => (one.kind === 'PodDisruptionBudget' ? [one.spec.selector] : []))
  assert.deepEqual(
    budgets.map((selector) => JSON.stringify(selector)),
    workloads.map(({ spec }) => JSON.stringify(spec.selector)),
  )
  for (const [name, { healthcheck, environment, ports = [], build }] of OURS) {
    const port = environment.MAIL_METRICS_PORT ?? environment.HTTP_PORT
    assert.equal(/127\.0\.0\.1:(\d+)\//.exec(healthcheck.test.join(' '))?.[1], port, name)
    for (const published of ports) assert.equal(published.split(':')[2], port)
    assert.ok(existsSync(join(ROOT, 'docs/deploy', build?.context ?? '', build?.dockerfile ?? '')))
  }
})

test('what the Dockerfile copies exists and reaches the builder; the lock file names no host', () => {
  const admitted = read('Dockerfile.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'))
  const sources = copies()
    .filter(({ from }) => from === null)
    .flatMap((copy) => copy.sources)
  assert.deepEqual(sorted(new Set(sources)), sorted(admitted.map((line) => line.slice(1))))
  for (const source of sources) assert.ok(existsSync(join(ROOT, source)), source)
  assert.doesNotMatch(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'), /"resolved": "http/)
  const major = /^v?(\d+)/.exec(process.version)?.[1]
  for (const [, base] of read('Dockerfile').matchAll(/^FROM (\S+)/gm)) assert.equal(base, `node:${major}-slim`)
})
