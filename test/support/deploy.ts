/**
 * Reads docs/deploy: the Dockerfile, the compose file and the Kubernetes manifests, as far as the tests ask. It resolves
 * references and names what a container is; it judges nothing.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'

const FOLDER = join(import.meta.dirname, '../../docs/deploy')
export const read = (name: string): string => readFileSync(join(FOLDER, name), 'utf8')

/** A reference to a Secret or to the pod itself; a ConfigMap is resolved. */
export type Value = { value: string } | { from: 'secret' | 'pod'; key: string }
type EnvVar = {
  name: string
  value?: string
  valueFrom?: {
    secretKeyRef?: { name: string; key: string }
    configMapKeyRef?: { name: string; key: string }
    fieldRef?: { fieldPath: string }
  }
}
export type Probe = { httpGet: { path: string; port: string } }
export type Container = {
  image: string
  command: string[]
  env: EnvVar[]
  ports: { name: string; containerPort: number }[]
  startupProbe: Probe
  readinessProbe: Probe
  livenessProbe: Probe
  lifecycle?: { preStop: { exec: { command: string[] } } }
  securityContext: Record<string, unknown>
  volumeMounts: { name: string; mountPath: string }[]
}
type Workload = {
  kind: 'StatefulSet' | 'Deployment'
  metadata: { name: string }
  spec: {
    replicas: number
    serviceName?: string
    selector: { matchLabels: Record<string, string> }
    template: {
      metadata: { labels: Record<string, string> }
      spec: {
        terminationGracePeriodSeconds: number
        securityContext: Record<string, unknown>
        containers: [Container]
        volumes: { name: string }[]
      }
    }
    volumeClaimTemplates?: { metadata: { name: string } }[]
  }
}
type Service = { kind: 'Service'; metadata: { name: string }; spec: ServiceSpec }
type ServiceSpec = { selector: Record<string, string>; ports: { targetPort: string }[] }
type Budget = { kind: 'PodDisruptionBudget'; spec: { selector: { matchLabels: Record<string, string> } } }
type ConfigMap = { kind: 'ConfigMap'; metadata: { name: string }; data: Record<string, string> }
type Manifest = Workload | Service | Budget | ConfigMap

/** @throws Error when the YAML is none. */
export function manifests(): Manifest[] {
  return parseAllDocuments(read('kubernetes.yaml'), { merge: true }).map((document) => {
    const [fault] = [...document.errors, ...document.warnings]
    if (fault !== undefined) throw fault
    return document.toJS() as Manifest
  })
}
/** The Service of the workload of the same name. */
export const serviceOf = ({ metadata }: Workload): ServiceSpec => {
  const found = manifests().find((one): one is Service => one.kind === 'Service' && one.metadata.name === metadata.name)
  if (found === undefined) throw new Error(`no Service ${metadata.name}`)
  return found.spec
}
export const workload = (kind: 'StatefulSet' | 'Deployment'): Workload => {
  const found = manifests().find((one): one is Workload => one.kind === kind)
  if (found === undefined) throw new Error(`no ${kind}`)
  return found
}

/** The environment of a container by name. @throws Error when a ConfigMap lacks a key. */
export function environmentOf({ env }: Container): Map<string, Value> {
  const maps = manifests().filter((one): one is ConfigMap => one.kind === 'ConfigMap')
  return new Map(
    env.map(({ name, value, valueFrom = {} }): [string, Value] => {
      const { configMapKeyRef: ref, secretKeyRef: secret, fieldRef: field } = valueFrom
      if (value !== undefined) return [name, { value }]
      if (secret !== undefined) return [name, { from: 'secret', key: secret.key }]
      if (field !== undefined) return [name, { from: 'pod', key: field.fieldPath }]
      const found = maps.find((map) => map.metadata.name === ref?.name)?.data[ref?.key ?? '']
      if (found === undefined) throw new Error(`${name} comes from nowhere`)
      return [name, { value: found }]
    }),
  )
}

export type ComposeService = {
  image: string
  build?: { context: string; dockerfile: string }
  command: string[]
  environment: Record<string, string>
  volumes?: string[]
  ports?: string[]
  stop_grace_period: string
  read_only?: boolean
  healthcheck: { test: string[] }
  working_dir?: string
}
type ComposeFile = { services: Record<string, ComposeService>; volumes: Record<string, null> }
export const compose = (): ComposeFile => parse(read('compose.yaml'), { merge: true, logLevel: 'error' }) as ComposeFile

/** `${NAME:?}` and `${NAME:-}` as compose fills them in. */
export const interpolate = (text: string, values: Record<string, string | undefined>): string =>
  text.replace(/\$\{(\w+):[?-]\}/g, (_, name: string) => values[name] ?? '')
export const interpolated = (): Set<string> =>
  new Set([...read('compose.yaml').matchAll(/\$\{(\w+)/g)].map(([, name]) => name ?? ''))

/** What a stage of the Dockerfile copies from the project; stages in order. */
export function copies(): { stage: number; sources: string[]; to: string; from: string | null }[] {
  let stage = 0
  return read('Dockerfile')
    .split('\n')
    .flatMap((line) => {
      if (line.startsWith('FROM ')) stage += 1
      const [, from = null, rest = ''] = /^COPY (?:--from=(\S+) )?(.+)$/.exec(line) ?? []
      if (rest === '') return []
      const words = rest.split(' ')
      return [{ stage, sources: words.slice(0, -1), to: words.at(-1) ?? '', from }]
    })
}

/** The services of compose that run our image. */
export const ofImage = (): [string, ComposeService][] =>
  Object.entries(compose().services).filter(([, { image }]) => image === 'mail-sync')
export const serviceNamed = (name: string): ComposeService => {
  const found = compose().services[name]
  if (found === undefined) throw new Error(`no service ${name}`)
  return found
}
export const probesOf = ({ startupProbe, readinessProbe, livenessProbe }: Container): Probe[] => [
  startupProbe,
  readinessProbe,
  livenessProbe,
]
