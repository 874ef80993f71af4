/** why and quarantine over two instances: whoever is asked, the owner answers, and each answer is what really happened. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import * as v from 'valibot'
import type { AccountStatus } from '#shared/contract.ts'
import { requestInspection } from '#shared/control-client.ts'
import { AppError, ERRORS, type ErrorBody } from '#shared/errors.ts'
import { EmailReceived, eventId } from '#shared/event.ts'
import type { QuarantineReply, WhyAnswer, WhyReply, WhyRequest } from '#shared/inspect.ts'
import { headers, type NatsConnection, PermissionViolationError, RequestError } from '#shared/nats.ts'
import { fleetOf, instanceName, statsOfInstances } from '#shared/service-view.ts'
import { asSubject, atSubject, EVENT_STREAM, HEADER_USER, INSPECTIONS, type InspectionName } from '#shared/subjects.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { disconnect, leaseOwner } from '../acceptance/support.ts'

const ORDINARY = { draft: 0, spam: 0, trash: 0, chat: 0 }
const stack = new AsyncDisposableStack()
let box: Sandbox
let nc: NatsConnection
let ops: NatsConnection

before(async () => {
  box = stack.use(await sandbox({ env: { MAIL_LEASE_SILENCE_MS: '60000' } }))
  ;[nc, ops] = [await box.connection('service'), await box.connection('ops')]
  for (const name of ['a', 'b']) await box.start(name)
  await box.connect(nc, 'ada', 'google', { n: 30, mix: ORDINARY })
  await box.connect(nc, 'grace', 'microsoft', { n: 30, mix: ORDINARY })
  await box.allLive(nc, ['ada', 'grace'])
})
after(() => stack.disposeAsync())

const user = (userId: string) => ({ user: box.simUser(userId) })
const ask = (userId: string, request: WhyRequest): Promise<WhyReply> =>
  requestInspection(nc, 'why', { asUser: userId, body: request, requestId: 'test' })
const listed = (userId: string): Promise<QuarantineReply> =>
  requestInspection(nc, 'quarantine', { asUser: userId, body: {}, requestId: 'test' })

/** The one answer about a message. */
async function why(userId: string, messageId: string): Promise<WhyAnswer> {
  const { answers, ...rest } = await ask(userId, { message_id: messageId })
  assert.deepEqual(rest, { user_id: userId, message_id: messageId, instance: await leaseOwner(ops, userId) })
  const [answer, ...more] = answers
  assert.ok(answer !== undefined && more.length === 0, JSON.stringify(answers))
  return answer
}

async function stored(userId: string, messageId: string): Promise<Extract<WhyAnswer, { is: 'stored' }>> {
  const answer = await why(userId, messageId)
  assert.ok(answer.is === 'stored', JSON.stringify(answer))
  return answer
}

/** Names of the instances that were asked, whoever owns the user. */
async function asked(name: InspectionName): Promise<string[]> {
  const stats = await statsOfInstances(nc, 2_000)
  return stats
    .filter(({ endpoints }) => endpoints.some((one) => one.name === `as-${name}` && one.num_requests > 0))
    .map(instanceName)
    .toSorted()
}

async function eventAt(sequence: number | null): Promise<EmailReceived> {
  const jsm = await jetstreamManager(ops)
  const message = await jsm.streams.getMessage(EVENT_STREAM, { seq: sequence ?? 0 })
  return v.parse(EmailReceived, message?.json())
}

const accountOf = async (userId: string): Promise<AccountStatus | undefined> =>
  (await box.status(nc, userId)).accounts[0]

test('each instance answers with the owner’s word, also the one that does not own the user', async () => {
  const [id = ''] = box.sim.truth(box.simUser('ada'), 'google').must
  for (const [name, question] of [
    ['why', () => ask('ada', { message_id: id })],
    ['quarantine', () => listed('ada')],
  ] as const) {
    const owner = await leaseOwner(ops, 'ada')
    await until(`both instances were asked for ${name}`, async () => {
      assert.equal((await question()).instance, owner)
      return (await asked(name)).length === 2
    })
  }
})

test('a Gmail mail: the page that listed it, the page that fetched it, outbox row and sequence', async () => {
  for (const id of box.sim.truth(box.simUser('ada'), 'google').must) {
    const { page, listed_by, outbox, stream, event_id } = await stored('ada', id)
    assert.equal(event_id, eventId('ada', 'GOOGLE', 'primary', id))
    assert.deepEqual([page?.lane, listed_by?.lane, listed_by?.cursor], ['drain', 'enum', null])
    assert.match(listed_by?.next_cursor ?? '', /"pass":/)
    assert.ok((listed_by?.page ?? 0) < (page?.page ?? 0))
    assert.ok((page?.epoch.rev ?? 0) > 0)
    assert.notEqual(outbox?.published_at ?? null, null)
    assert.equal(stream.is, 'on_stream')
    assert.equal((await eventAt(stream.sequence)).event_id, event_id)
  }
  const id = box.sim.mutate({ type: 'deliver', ...user('ada'), provider: 'google' })
  await until('it is stored', async () => (await why('ada', id)).is === 'stored')
  const { page, listed_by } = await stored('ada', id)
  assert.deepEqual([page?.lane, listed_by], ['history', null], 'the page that names new mail brings it')
  assert.match(page?.cursor ?? '', /"start":/)
})

test('an Outlook mail: the page of its folder, which brought it whole', async () => {
  for (const id of box.sim.truth(box.simUser('grace'), 'microsoft').must.slice(0, 5)) {
    const { page, listed_by, stream } = await stored('grace', id)
    assert.match(page?.lane ?? '', /^folder:/)
    assert.deepEqual([page?.cursor, listed_by], [null, null])
    assert.match(page?.next_cursor ?? '', /deltatoken/i)
    assert.equal((await eventAt(stream.sequence)).provider_message_id, id)
  }
})

test('what is no event names its filter', async () => {
  for (const filter of ['SPAM', 'TRASH', 'DRAFT', 'CHAT']) {
    const id = box.sim.mutate({ type: 'deliver', ...user('ada'), provider: 'google', labels: [filter] })
    const { is, ...rest } = await why('ada', id)
    assert.deepEqual([is, rest], ['filtered', { provider: 'google', inbox_id: 'primary', filter }])
  }
  const draft = box.sim.mutate({ type: 'draftSave', ...user('grace'), provider: 'microsoft' })
  const junk = box.sim.mutate({ type: 'deliver', ...user('grace'), provider: 'microsoft', folder: 'junkemail' })
  const bin = box.sim.mutate({ type: 'deliver', ...user('grace'), provider: 'microsoft', folder: 'deleteditems' })
  for (const [id, filter] of [
    [draft, 'draft'],
    [junk, 'junkemail'],
    [bin, 'deleteditems'],
  ] as const) {
    const answer = await why('grace', id)
    assert.deepEqual([answer.is, 'filter' in answer && answer.filter], ['filtered', filter])
  }
})

test('what the provider does not have is told with its answer; of an account that is not there nothing is told', async () => {
  for (const [userId, id] of [
    ['ada', 'ffffffffffffffff'],
    ['grace', 'AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0AAAAA'],
  ] as const) {
    const answer = await why(userId, id)
    assert.ok(answer.is === 'not_at_provider', JSON.stringify(answer))
    assert.deepEqual([answer.reason, answer.status], ['missing', 404])
    assert.match(answer.provider_code ?? '', /not_?found/i)
  }
  for (const request of [{ provider: 'microsoft' }, { inbox_id: 'second' }] as const)
    assert.deepEqual((await ask('ada', { message_id: 'x', ...request })).answers, [])
})

test('what the provider has, and is neither stored nor queued, is said to be that; a provider that fails is told', async () => {
  box.sim.faults.add({ match: { route: 'gmail.history.list', mailbox: box.simUser('ada') }, fault: { type: '500' } })
  try {
    const id = box.sim.mutate({ type: 'deliver', ...user('ada'), provider: 'google' })
    assert.deepEqual(await why('ada', id), {
      is: 'unknown',
      provider: 'google',
      inbox_id: 'primary',
      readable: true,
      open_lanes: [],
    })
    box.sim.faults.add({ match: { route: 'gmail.messages.get', mailbox: box.simUser('ada') }, fault: { type: '500' } })
    const answer = await why('ada', id)
    assert.ok(answer.is === 'unanswered', JSON.stringify(answer))
    assert.deepEqual([answer.code, answer.status, answer.provider_code], ['PROVIDER_DOWN', 500, 'backendError'])
    box.sim.faults.clear()
    await until('it is stored', async () => (await why('ada', id)).is === 'stored')
  } finally {
    box.sim.faults.clear()
  }
})

test('one message that cannot be read: counted in status, listed, explained, and gone when it is well', async () => {
  box.sim.faults.add({
    match: { route: 'gmail.messages.get', mailbox: box.simUser('ada') },
    fault: { type: 'wrongType' },
  })
  const id = box.sim.mutate({ type: 'deliver', ...user('ada'), provider: 'google' })
  await until('status counts it', async () => {
    const account = await accountOf('ada')
    assert.deepEqual(
      [account?.set_aside, account?.state, account?.last_error?.code],
      [1, 'retrying', 'MESSAGE_SET_ASIDE'],
    )
    return true
  })
  const [account] = (await listed('ada')).accounts
  const [message, ...more] = account?.messages ?? []
  assert.deepEqual([account?.set_aside, message?.message_id, message?.reason, more], [1, id, 'unreadable', []])
  assert.ok((message?.attempts ?? 0) > 0 && message?.lane === 'history')
  assert.ok((message?.next_attempt_at ?? 0) >= (message?.listed_at ?? 0))
  const answer = await why('ada', id)
  assert.ok(answer.is === 'queued' && answer.set_aside && answer.listed_by?.lane === 'history', JSON.stringify(answer))

  box.sim.faults.clear()
  // On a busy machine its next time may be minutes away: a change of the message makes it due.
  box.sim.mutate({ type: 'label', ...user('ada'), provider: 'google', id, add: ['SPAM'] })
  box.sim.mutate({ type: 'unspam', ...user('ada'), provider: 'google', id })
  await until('it is stored', async () => (await why('ada', id)).is === 'stored')
  assert.deepEqual((await listed('ada')).accounts, [
    { provider: 'google', inbox_id: 'primary', set_aside: 0, messages: [] },
  ])
})

test('ids that are none are refused before anybody is asked, and told what is wrong with them', async () => {
  const asks = () => box.sim.log().filter(({ route }) => /messages?\.get$/.test(route)).length
  const askedBefore = asks()
  for (const id of [
    '',
    '../../users/me',
    'a b',
    'a\u0000b',
    'a?b=c',
    '%2e%2e',
    'ä',
    '*',
    '>',
    'a'.repeat(1025),
    7,
    null,
  ]) {
    const reply = await nc.request(asSubject('ada', 'why'), JSON.stringify({ message_id: id }), { timeout: 5_000 })
    const { error } = reply.json<ErrorBody>()
    assert.equal(error.code, 'BAD_REQUEST', JSON.stringify(id))
    const { issues } = error.details as { issues: { path: string; expected: string }[] }
    assert.deepEqual(
      issues.map(({ path }) => path),
      ['message_id'],
    )
    assert.match(issues[0]?.expected ?? '', /^regex: \/\^\[\\w=|^max_length: <=1024|^string: string/)
  }
  for (const body of ['{}', '{"message_id":"a","x":1}', '{"message_id":"a","provider":"aol"}', '[]', 'x'])
    assert.match((await nc.request(asSubject('ada', 'why'), body)).json<ErrorBody>().error.code, /^BAD_(REQUEST|JSON)$/)
  assert.equal(asks(), askedBefore)
})

const told = (error: unknown): string | null => {
  const cause = error instanceof RequestError ? error.cause : error
  return cause instanceof PermissionViolationError ? `${cause.operation} ${cause.subject}` : null
}

test('only service and ops may ask, and between instances only instances and ops', async () => {
  const [address = ''] = (await fleetOf(nc, 5_000)).map((one) => one.address)
  for (const name of INSPECTIONS) {
    for (const role of ['bridge', 'consumer', 'mailsync'] as const) {
      const other = await box.connection(role)
      const subject = asSubject('ada', name)
      await assert.rejects(other.request(subject, '{}'), (error) => told(error) === `publish ${subject}`)
    }
    for (const role of ['bridge', 'consumer', 'service'] as const) {
      const other = await box.connection(role)
      const subject = atSubject(address, name)
      await assert.rejects(other.request(subject, '{}'), (error) => told(error) === `publish ${subject}`)
    }
  }
})

test('a user whom nobody owns: NO_OWNER; an instance that is not the owner never answers for one', async () => {
  for (const name of INSPECTIONS) {
    const body = name === 'why' ? { message_id: 'x' } : {}
    await assert.rejects(
      requestInspection(nc, name, { asUser: 'nobody', body, requestId: 'test' }),
      (error) => error instanceof AppError && error.code === 'NO_OWNER',
    )
    const owner = await leaseOwner(ops, 'ada')
    const other = (await fleetOf(nc, 5_000)).find(({ instance }) => instance !== owner)
    const hdrs = headers()
    hdrs.set(HEADER_USER, 'ada')
    const reply = await ops.request(atSubject(other?.address ?? '', name), JSON.stringify(body), {
      headers: hdrs,
      timeout: 5_000,
    })
    assert.equal(reply.json<ErrorBody>().error.code, 'NO_OWNER')
    const unnamed = await ops.request(atSubject(other?.address ?? '', name), JSON.stringify(body), { timeout: 5_000 })
    assert.equal(unnamed.json<ErrorBody>().error.code, 'BAD_USER_ID')
  }
  assert.equal(ERRORS.NO_OWNER.status, 503)
})

test('an account that is disconnected is not asked for, and the others still are', async () => {
  await box.connect(nc, 'grace', 'google', { n: 1, mix: ORDINARY }, 'old')
  await box.allLive(nc, ['grace'])
  await disconnect(nc, 'grace', 'google', 'old')
  const [kept = ''] = box.sim.truth(box.simUser('grace', 'old'), 'google').must
  assert.equal((await stored('grace', kept)).inbox_id, 'old')
  await until('its worker has ended', async () => {
    const { answers } = await ask('grace', { message_id: 'abc' })
    const told = answers.map((answer) => [answer.inbox_id, answer.is, 'code' in answer && answer.code])
    assert.deepEqual(told.toSorted(), [
      ['old', 'unanswered', null],
      ['primary', 'not_at_provider', false],
    ])
    return true
  })
})
