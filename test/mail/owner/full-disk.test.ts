/** An instance whose disk can keep nothing: others own its users meanwhile, if there are others. */
import assert from 'node:assert/strict'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import { DiskError } from '../../../services/mail/store/disk-errors.ts'
import { countStored } from '../../../services/mail/store/messages.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { until } from '../../support/until.ts'
import { log } from '../kv/support.ts'
import { mail } from '../store/support.ts'
import { tinyDisk } from '../store/tiny-disk.ts'
import type { ScriptedProvider } from '../sync/worker-box.ts'
import { accountOf, type Node, type OwnerBox, ownerBox, SILENCE_MS, TWENTY, twentyMails } from './support.ts'

/** Room for the databases of all users, when nothing else is there. */
const DISK_MIB = 32
const MIB = 1024 * 1024
const LONG_SILENCE_MS = 6_000
const USERS = Array.from({ length: 16 }, (_, i) => `user${i}`)
const AS = USERS.filter((user) => desiredOwner(user, ['a', 'b']) === 'a')
const owned = (node: Node): string[] => USERS.filter((user) => node.supervisor.owns(user))
const owns = (node: Node, users: readonly string[]): Promise<unknown> =>
  until(`${node.name} owns ${users.join(' ')}`, () => owned(node).join() === users.join())

const NO_ROOM = new DiskError('DISK_FULL', 'no room')
/** A disk that refuses on demand. */
class FillingStore extends UserStore {
  isFull = false
  isProbed = true
  /** False: who could do something about it is not told. */
  isTold = true
  adoptions = 0
  override adopt(...args: Parameters<UserStore['adopt']>): ReturnType<UserStore['adopt']> {
    this.adoptions += 1
    this.#refuseIfFull()
    return super.adopt(...args)
  }
  override commit<T>(...args: Parameters<typeof UserStore.prototype.commit<T>>): T {
    this.#refuseIfFull()
    return super.commit(...args)
  }
  #refuseIfFull(): void {
    if (!this.isFull) return
    if (this.isTold) this.onDiskFault(NO_ROOM)
    throw NO_ROOM
  }
  override async probe(): Promise<void> {
    if (this.isFull && this.isProbed) throw NO_ROOM
  }
}
function fillingNode(
  box: OwnerBox,
  name: string,
  silenceMs = SILENCE_MS,
): { store: FillingStore; node: Promise<Node> } {
  const store = new FillingStore({ dataDir: join(box.dataDir, name), log })
  return { store, node: box.node(name, { silenceMs, store }) }
}

/** To the last byte. */
function fill(dir: string): void {
  const { bavail, bsize } = statfsSync(dir)
  writeFileSync(join(dir, 'ballast'), Buffer.alloc(bavail * bsize))
}

/** At each poll fifty mails that nobody has seen. */
function newMails(): ScriptedProvider['answer'] {
  let asked = 0
  return ({ lane, cursor }) => {
    const poll = asked++
    const messages = Array.from({ length: 50 }, (_, i) => mail(`new${poll}-${i}`))
    return { messages, lanes: [{ lane, cursor, done: true }], more: false }
  }
}

// Each has a server of its own, and most of their time is waiting.
describe('an instance whose disk is full', { concurrency: 3 }, () => {
  test('another takes the users that it cannot keep, and it takes its own back once there is room', async (t) => {
    await using box = await ownerBox()
    const dir = join(box.dataDir, 'a')
    using disk = tinyDisk(dir, DISK_MIB)
    if (disk === null) return t.diagnostic('only root can mount the tiny disk that this needs')
    writeFileSync(join(dir, 'ballast'), Buffer.alloc(DISK_MIB * MIB - 8 * 1024))
    const [a, b] = [await box.node('a'), await box.node('b')]
    a.run()
    for (const user of USERS) await box.put(a, user)
    await until('a says that its disk is full', () => a.supervisor.session.full === 'DISK_FULL')
    b.run()
    await owns(b, USERS)
    await until('a has let go of all', () => owned(a).length === 0)
    rmSync(join(dir, 'ballast'))
    await owns(a, AS)
    await until('a says that there is room', () => a.supervisor.session.full === null)
    await a.end()
  })

  test('a disk that fills up while its users run: another takes them, and they go on there', async (t) => {
    await using box = await ownerBox()
    const dir = join(box.dataDir, 'a')
    using disk = tinyDisk(dir, DISK_MIB)
    if (disk === null) return t.diagnostic('only root can mount the tiny disk that this needs')
    const [a, b] = [await box.node('a'), await box.node('b')]
    a.run()
    b.run()
    for (const user of USERS) await box.put(a, user)
    await owns(a, AS)
    const stored = (user: string): number => a.store.read(user, (db) => countStored(db, accountOf(user)))
    await until('all have been read', () => AS.every((user) => stored(user) === TWENTY))
    fill(dir)
    a.provider.answer = newMails()
    await until('a says that its disk is full', () => a.supervisor.session.full === 'DISK_FULL')
    await owns(b, USERS)
    twentyMails(a.provider)
    rmSync(join(dir, 'ballast'))
    await owns(a, AS)
  })

  /** Instance a, on a disk that fills up when all of its users run, and instance b. */
  async function filledUnderUsers(box: OwnerBox, isTold: boolean) {
    // No session ends here for a busy machine.
    const { store, node } = fillingNode(box, 'a', LONG_SILENCE_MS)
    const [a, b] = [await node, await box.node('b', { silenceMs: LONG_SILENCE_MS })]
    a.run()
    b.run()
    for (const user of USERS) await box.put(a, user)
    await owns(a, AS)
    const stored = (user: string): number => store.read(user, (db) => countStored(db, accountOf(user)))
    await until('all have been read', () => AS.every((user) => stored(user) === TWENTY))
    Object.assign(store, { isFull: true, isTold })
    a.provider.answer = newMails()
    return { a, b }
  }

  test('users that run when it fills up are handed over', async () => {
    await using box = await ownerBox()
    const { b } = await filledUnderUsers(box, true)
    await owns(b, USERS)
  })

  test('control: users whose faults nobody looks at stay where nothing can be stored', async () => {
    await using box = await ownerBox()
    const { a, b } = await filledUnderUsers(box, false)
    const faultOf = (user: string) => a.supervisor.tenures.get(user)?.statuses()?.[0]?.last_error?.code
    await until('each user has met it', () => AS.every((user) => faultOf(user) === 'DISK_FULL'))
    const metMs = performance.now()
    await until('they would have been handed over', () => performance.now() - metMs > 3_000)
    assert.deepEqual([owned(a), owned(b).length], [AS, USERS.length - AS.length])
  })

  test('users that it owned before are handed over too', async () => {
    await using box = await ownerBox()
    const { store, node } = fillingNode(box, 'a')
    const [a, b] = [await node, await box.node('b')]
    a.run()
    b.run()
    const [last, ...first] = AS.toReversed()
    assert.ok(last !== undefined && first.length > 0)
    for (const user of USERS) if (user !== last) await box.put(a, user)
    await owns(
      a,
      AS.filter((user) => user !== last),
    )
    store.isFull = true
    await box.put(a, last)
    await owns(b, USERS)
  })

  test('when all are full nobody hands anybody over, and each goes on with its own once there is room', async () => {
    await using box = await ownerBox()
    const [atA, atB] = [fillingNode(box, 'a'), fillingNode(box, 'b')]
    const [a, b] = [await atA.node, await atB.node]
    for (const { store } of [atA, atB]) store.isFull = true
    a.run()
    b.run()
    for (const user of USERS) await box.put(a, user)
    await until('both say so', () => [a, b].every((node) => node.supervisor.session.full === 'DISK_FULL'))
    for (const { store } of [atA, atB]) store.isFull = false
    await owns(a, AS)
    await owns(
      b,
      USERS.filter((user) => !AS.includes(user)),
    )
  })

  test('control: an instance that is not seen to be full keeps its users from everybody', async () => {
    await using box = await ownerBox()
    const { store, node } = fillingNode(box, 'a')
    const [a, b] = [await node, await box.node('b')]
    Object.assign(store, { isFull: true, isProbed: false })
    a.run()
    b.run()
    for (const user of USERS) await box.put(a, user)
    await owns(
      b,
      USERS.filter((user) => !AS.includes(user)),
    )
    await until('a has failed again and again', () => store.adoptions > 2 * AS.length)
    assert.deepEqual([a.workers.length, owned(b).length], [0, USERS.length - AS.length])
  })

  test('a fault of one file of one user does not make the disk a full one', async () => {
    await using box = await ownerBox()
    const [a, b] = [await box.node('a'), await box.node('b')]
    const [broken] = AS
    assert.ok(broken !== undefined)
    const folder = dirname(a.store.fileOf(broken))
    mkdirSync(dirname(folder), { recursive: true })
    writeFileSync(folder, 'not a folder')
    a.run()
    b.run()
    for (const user of USERS) await box.put(a, user)
    await owns(
      a,
      AS.filter((user) => user !== broken),
    )
    await owns(
      b,
      USERS.filter((user) => !AS.includes(user)),
    )
    assert.equal(a.supervisor.session.full, null)
  })
})
