/**
 * Accepted when: connect, status and disconnect work through any instance, and status is the owner's word, or the last
 * checkpoint with `live: false` when the owner does not answer within a second.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Kvm } from '@nats-io/kv'
import type { AccountStatus } from '#shared/contract.ts'
import { AppError } from '#shared/errors.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { instanceName, statsOfInstances } from '#shared/service-view.ts'
import { BUCKET_STATE, OPERATIONS, type OperationName, stateKey } from '#shared/subjects.ts'
import { startNatsServer } from '../../support/nats-server.ts'
import { startProxy } from '../../support/proxy.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { connectWith, disconnect, leaseOwner } from './support.ts'

const USERS = ['ada', 'grace', 'joan', 'mary']
const MAILS = 8
/** Nobody takes over: what status says is only about who answers. */
const NEVER_SILENT = { MAIL_LEASE_SILENCE_MS: '60000' }
/** How long the owner is given, and what may pass besides on a busy machine. */
const OWNER_MS = 1_000
const SLACK_MS = 1_500
const LOST_TRIES = { timeoutMs: 90_000 }

const mailsOf = (box: Sandbox, user: string): number => box.sim.truth(box.simUser(user), 'google').must.length

/** Names of the instances that have answered this operation. */
async function served(nc: NatsConnection, operation: OperationName): Promise<Set<string>> {
  const stats = await statsOfInstances(nc, 2_000)
  const busy = stats.filter(({ endpoints }) =>
    endpoints.some(({ name, num_requests }) => name === `as-${operation}` && num_requests > 0),
  )
  return new Set(busy.map(instanceName))
}

test('connect, status and disconnect work through each of three instances, whoever owns the user', async () => {
  await using box = await sandbox()
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  for (const name of ['a', 'b', 'c']) await box.start(name)
  await box.connect(nc, 'ada', 'google', { n: MAILS })
  await box.allLive(nc, ['ada'])
  const owner = await leaseOwner(ops, 'ada')
  const rounds: Record<OperationName, () => Promise<void>> = {
    connect: () => connectWith(nc, 'ada', 'google', box.sim.credentials(box.simUser('ada'), 'google')),
    status: async () => {
      const [account] = (await box.status(nc, 'ada')).accounts
      assert.deepEqual([account?.live, account?.instance, account?.progress.done], [true, owner, mailsOf(box, 'ada')])
    },
    disconnect: async () => {
      await disconnect(nc, 'ada', 'google')
      await until('nothing is connected', async () => (await box.status(nc, 'ada')).accounts.length === 0)
      await rounds.connect()
      await until('it is connected', async () => (await box.status(nc, 'ada')).accounts.length === 1)
    },
  }
  for (const operation of OPERATIONS)
    await until(`each instance has answered ${operation}`, async () => {
      await rounds[operation]()
      return (await served(nc, operation)).size === 3
    })
  await box.allLive(nc, ['ada'])
})

/** Users of two instances, and one of them that `a` owns. */
async function connectUsers(box: Sandbox): Promise<{ nc: NatsConnection; user: string }> {
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  for (const user of USERS) await box.connect(nc, user, 'google', { n: MAILS })
  const user = await until('a owns a user', async () => {
    for (const one of USERS) if ((await leaseOwner(ops, one)) === 'a') return one
    return null
  })
  await box.allLive(nc, USERS)
  const states = await new Kvm(ops).open(BUCKET_STATE)
  await until('the checkpoint has all mail', async () => {
    const [account] = (await states.get(stateKey(user)))?.json<{ accounts: AccountStatus[] }>().accounts ?? []
    return account?.progress.done === mailsOf(box, user)
  })
  return { nc, user }
}

/** Stopped: until its first thread is, the one that answers requests goes on. */
async function paused(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  await until('the process is stopped', () => / T /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')))
}

type Answer = { account: AccountStatus | undefined; tookMs: number }

/** Several at once: those that NATS hands to an instance which cannot answer come to nothing. */
async function ask(box: Sandbox, nc: NatsConnection, user: string): Promise<Answer[]> {
  const answers = Array.from({ length: 8 }, async (): Promise<Answer | null> => {
    const sentMs = performance.now()
    try {
      const [account] = (await box.status(nc, user)).accounts
      return { account, tookMs: performance.now() - sentMs }
    } catch (error) {
      if (error instanceof AppError && error.code === 'TIMEOUT') return null
      throw error
    }
  })
  return (await Promise.all(answers)).filter((answer) => answer !== null)
}

/** The other instance answers from the checkpoint, and neither sooner nor later than it may. */
async function assertCheckpoint(box: Sandbox, nc: NatsConnection, user: string, waitMs: number): Promise<void> {
  const answers = await until('the other instance answers', async () => {
    const all = await ask(box, nc, user)
    return all.length > 0 && all
  })
  for (const { account, tookMs } of answers) {
    assert.deepEqual([account?.live, account?.instance, account?.progress.done], [false, 'a', mailsOf(box, user)])
    assert.ok(tookMs >= waitMs * 0.9 && tookMs < waitMs + SLACK_MS, `answered after ${Math.round(tookMs)} ms`)
  }
}
const untilLive = (box: Sandbox, nc: NatsConnection, user: string): Promise<AccountStatus> =>
  until('the owner answers again', async () => {
    const [account] = (await box.status(nc, user)).accounts
    return account?.live === true && account.instance === 'a' ? account : null
  })

test('a paused owner: status is the checkpoint after a second, connect and disconnect go on', async () => {
  await using box = await sandbox({ env: NEVER_SILENT })
  const a = await box.spawn('a')
  await box.start('b')
  const { nc, user } = await connectUsers(box)
  await paused(a.pid)
  try {
    await assertCheckpoint(box, nc, user, OWNER_MS)
    // A request that NATS hands to the one that is paused is not answered.
    await box.connect(nc, user, 'microsoft', { n: 1 }, 'primary', { patient: true })
    await untilAnswered(() => disconnect(nc, user, 'google'))
    const isLeft = async () => {
      const { accounts } = await box.status(nc, user)
      return accounts.length === 1 && accounts
    }
    const left = await until('status shows what is connected now', isLeft, LOST_TRIES)
    assert.deepEqual(
      left.map(({ provider, state, live }) => [provider, state, live]),
      [['microsoft', 'connecting', false]],
    )
  } finally {
    process.kill(a.pid, 'SIGCONT')
  }
  await box.allLive(nc, [user])
  assert.deepEqual((await untilLive(box, nc, user)).provider, 'microsoft')
})

/** Again as long as NATS hands it to the paused process: each try that is lost takes 3 s, and it is chosen half the time. */
const untilAnswered = (operation: () => Promise<void>): Promise<boolean> =>
  until(
    'an instance that runs has answered',
    async () => {
      await operation()
      return true
    },
    LOST_TRIES,
  )

for (const how of ['cut off', 'cut off without a word'] as const)
  test(`an owner that is ${how}: status is the checkpoint, and the owner's own word once it is back`, async () => {
    await using stack = new AsyncDisposableStack()
    const nats = stack.use(await startNatsServer())
    const proxy = stack.use(await startProxy(nats.port))
    const box = stack.use(await sandbox({ nats, env: NEVER_SILENT }))
    await box.start('a', { env: { NATS_URL: `nats://127.0.0.1:${proxy.port}` } })
    await box.start('b')
    const { nc, user } = await connectUsers(box)
    // NATS knows of the first and answers for it; of the second it knows nothing yet.
    if (how === 'cut off') proxy.cut()
    else proxy.hold('toServer')
    await assertCheckpoint(box, nc, user, how === 'cut off' ? 0 : OWNER_MS)
    proxy.release()
    proxy.heal()
    await untilLive(box, nc, user)
  })

test('while the owner answers, status is never the checkpoint', async () => {
  await using box = await sandbox({ env: NEVER_SILENT })
  for (const name of ['a', 'b']) await box.start(name)
  const { nc, user } = await connectUsers(box)
  const answers = await ask(box, nc, user)
  assert.equal(answers.length, 8)
  for (const { account } of answers) assert.equal(account?.live, true)
})
