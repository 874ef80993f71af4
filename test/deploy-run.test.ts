/**
 * What docs/deploy starts is started here, out of a folder with just what the image has, and what it asks (probes, health
 * checks) is asked. Addresses, secrets and paths are those of this machine. deploy.test.ts looks at the files themselves.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import {
  type Container,
  copies,
  environmentOf,
  interpolate,
  ofImage,
  type Probe,
  probesOf,
  serviceNamed,
  workload,
} from './support/deploy.ts'
import { freePort } from './support/free-port.ts'
import { MACHINE } from './support/instance.ts'
import { NATS_ROLES } from './support/nats-server.ts'
import { type Sandbox, sandbox } from './support/sandbox.ts'
import { until } from './support/until.ts'

const ROOT = join(import.meta.dirname, '..')

describe('what they start runs', () => {
  let box: Sandbox
  let image: string
  const running = new Set<ChildProcess>()
  before(async () => {
    box = await sandbox()
    image = join(box.dir, 'image')
    for (const { stage, sources, to, from } of copies())
      if (stage === 2 && from === null)
        for (const source of sources)
          cpSync(join(ROOT, source), join(image, to === './' ? source : to), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(image, 'node_modules'))
  })
  after(async () => {
    for (const child of running) child.kill('SIGKILL')
    await box[Symbol.asyncDispose]()
  })

  /** What this machine has in place of the addresses, secrets and paths of a container. */
  const here = (name: string, port: number): Record<string, string | undefined> => {
    const passwords = NATS_ROLES.map((role) => [`NATS_${role.toUpperCase()}_PASSWORD`, box.nats.passwords[role]])
    const { NATS_USER: _, NATS_PASSWORD: __, ...real } = box.env(name)
    mkdirSync(join(box.dir, name, 'data'), { recursive: true })
    return { ...real, ...Object.fromEntries(passwords), MAIL_METRICS_PORT: String(port), HTTP_PORT: String(port) }
  }
  const start = (command: readonly string[], env: Record<string, string | undefined>): ChildProcess => {
    const [file = '', ...args] = command
    const child = spawn(file, args, { cwd: image, env: { ...MACHINE, ...env }, stdio: ['ignore', 'ignore', 'inherit'] })
    running.add(child)
    child.once('exit', () => running.delete(child))
    return child
  }
  /** Ends it as Docker and Kubernetes do. */
  const stop = async (child: ChildProcess): Promise<number | null> => {
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    return code
  }
  /** Starts a container of a pod on another port. */
  const startPod = async (name: string, container: Container) => {
    const port = await freePort()
    const real = here(name, port)
    const settings = [...environmentOf(container)].map(([key, value]): [string, string | undefined] => {
      const isOwn = ['NATS_USER', 'MAIL_METRICS_HOST', 'HTTP_HOST', 'NODE_ENV'].includes(key)
      if ('value' in value && isOwn) return [key, value.value]
      if (key === 'MAIL_DATA_DIR' && 'value' in value) return [key, join(box.dir, name, value.value)]
      if (key === 'NATS_PASSWORD')
        return [key, real[name === 'bridge' ? 'NATS_BRIDGE_PASSWORD' : 'NATS_MAILSYNC_PASSWORD']]
      return [key, real[key]]
    })
    const child = start(container.command, { ...Object.fromEntries(settings), MAIL_LEASE_SILENCE_MS: '2000' })
    const ask = async ({ httpGet }: Probe): Promise<boolean> =>
      (await fetch(`http://127.0.0.1:${port}${httpGet.path}`)).ok
    return { child, ask }
  }

  test('the pods: their probes tell when they are ready, that NATS is away, and they end with 0', async () => {
    const [mail] = workload('StatefulSet').spec.template.spec.containers
    const [bridge] = workload('Deployment').spec.template.spec.containers
    const pods = await Promise.all([startPod('mail-sync-0', mail), startPod('bridge', bridge)])
    for (const [i, container] of [mail, bridge].entries())
      for (const probe of probesOf(container))
        await until(`${probe.httpGet.path} of ${container.command.at(-1)}`, () => pods[i]?.ask(probe))
    await box.nats.stop()
    for (const [i, container] of [mail, bridge].entries()) {
      await until('it is not ready', async () => !(await pods[i]?.ask(container.readinessProbe)))
      assert.equal(await pods[i]?.ask(container.livenessProbe), true)
    }
    await box.nats.start()
    for (const [i, container] of [mail, bridge].entries())
      await until('it is ready again', () => pods[i]?.ask(container.readinessProbe))
    assert.deepEqual(await Promise.all(pods.map(({ child }) => stop(child))), [0, 0])
  })

  describe('one beside the other', { concurrency: true }, () => {
    test('the command before a bridge is ended exists and ends within the time that is given', async () => {
      const { containers, terminationGracePeriodSeconds } = workload('Deployment').spec.template.spec
      const [file = '', ...args] = containers[0].lifecycle?.preStop.exec.command ?? assert.fail()
      const startedMs = performance.now()
      const [code] = await once(spawn(file, args, { stdio: 'ignore' }), 'exit')
      assert.equal(code, 0)
      assert.ok(performance.now() - startedMs < (terminationGracePeriodSeconds * 1000) / 2)
    })

    for (const name of ofImage().map(([service]) => service))
      test(`${name} of compose: its health check says when it is well and when it is gone`, async () => {
        const { command, environment, healthcheck } = serviceNamed(name)
        const port = await freePort()
        const real = here(name, port)
        const env = Object.fromEntries(Object.entries(environment).map(([key, text]) => [key, interpolate(text, real)]))
        const data = environment.MAIL_DATA_DIR === undefined ? {} : { MAIL_DATA_DIR: join(box.dir, name, 'data') }
        const ports =
          environment.HTTP_PORT === undefined
            ? { MAIL_METRICS_PORT: real.MAIL_METRICS_PORT }
            : { HTTP_PORT: real.HTTP_PORT }
        const { NATS_URL, BETTER_AUTH_JWKS_URL } = real
        const child = start(command, { ...env, ...data, ...ports, NATS_URL, BETTER_AUTH_JWKS_URL })
        const [kind, file = '', ...args] = healthcheck.test
        assert.equal(kind, 'CMD')
        const check = (): Promise<boolean> =>
          new Promise((resolve) => {
            const real = args.map((text) => text.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${port}`))
            execFile(file, real, { env: MACHINE }, (error) => resolve(error === null))
          })
        await until('it is well', check, { everyMs: 200 })
        assert.equal(await stop(child), 0)
        assert.equal(await check(), false)
      })

    test('nats of compose: its arguments start a server, which keeps its data in the volume and answers its health check', async () => {
      const { command, volumes: mounts = [], working_dir, healthcheck } = serviceNamed('nats')
      const mounted = new Map(mounts.map((mount) => [mount.split(':')[1] ?? '', mount.split(':')[0] ?? '']))
      assert.equal(mounted.get(working_dir ?? ''), 'nats')
      const dir = mkdtempSync(join(tmpdir(), 'mail-sync-test-'))
      const server = execFileSync(join(ROOT, 'scripts/nats-server.sh'), ['path'], { encoding: 'utf8' }).trim()
      const args = command.map((word) =>
        mounted.has(word) ? join(ROOT, 'docs/deploy', mounted.get(word) ?? '') : word,
      )
      const elsewhere = ['-p', '-1', '-m', '-1', '--ports_file_dir', dir]
      const child = spawn(server, [...args, ...elsewhere], {
        cwd: dir,
        env: { ...MACHINE, ...here('nats', 0) },
        stdio: 'ignore',
      })
      running.add(child)
      try {
        const file = join(dir, `${basename(server)}_${child.pid}.ports`)
        const ports = await until(
          'its ports are known',
          () => existsSync(file) && JSON.parse(readFileSync(file, 'utf8')),
        )
        // The image has wget, this machine may not: the same request.
        const [, tool, ...words] = healthcheck.test
        assert.equal(tool, 'wget')
        const { pathname } = new URL(words.at(-1) ?? '')
        await until('it is well', async () => (await fetch(new URL(pathname, ports.monitoring[0]))).ok)
        assert.ok(existsSync(join(dir, 'data/jetstream')))
      } finally {
        child.kill('SIGTERM')
        await once(child, 'exit')
        running.delete(child)
        rmSync(dir, { recursive: true, force: true })
      }
    })
  })
})
