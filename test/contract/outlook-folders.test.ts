/** What is special about Outlook: the folder tree decides which mail is an event, where it is asked for, what it is called. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isRefill } from '../../services/mail/base/model.ts'
import { createOutlook } from '../../services/mail/provider/outlook/adapter.ts'
import type { SimulatorOptions } from '../simulator/simulator.ts'
import { assertTruth, bench, type Subject, USER } from './bench.ts'

const OUTLOOK: Pick<Subject, 'provider' | 'make'> = {
  provider: 'microsoft',
  make: (sim, http) => createOutlook({ baseUrl: sim.env.MAIL_GRAPH_BASE_URL, http }),
}
const world = { user: USER, provider: 'microsoft' } as const
const synced = async (n: number, options: SimulatorOptions = {}) => {
  const box = await bench(OUTLOOK, n, options)
  await box.driver.run()
  return box
}
type Box = Awaited<ReturnType<typeof synced>>
const lanesOf = (box: Box) => Object.keys(box.driver.state().lanes).filter((lane) => lane.startsWith('folder:'))
const labelsOf = (box: Box, id: string) => box.driver.emitted.find((meta) => meta.id === id)?.labels[0]

describe('the folders of Outlook', () => {
  it('are read page by page, and the walk goes on where it was', async () => {
    await using box = await bench(OUTLOOK, 40, { pageSizeGraph: 3 })
    for (let pages = 0; pages < 3; pages++) {
      await box.driver.step('folders')
      assert.deepEqual(Object.keys(box.driver.state().lanes), ['folders'])
    }
    await box.driver.run()
    assertTruth(box.sim, box.driver, 'microsoft')
  })

  it('come inbox first, and none of the excluded ones or of what lies below them has a lane', async () => {
    await using box = await synced(10)
    const inbox = await OUTLOOK.make(box.sim, box.http).identify(box.driver.call())
    assert.equal(lanesOf(box)[0], `folder:${inbox.mailbox}`)
    // Inbox, sent mail, archive, Projects, Projects/Älpha; not deleteditems/Old and the like.
    assert.equal(lanesOf(box).length, 5)
    assert.ok(box.driver.state().lanes.drain)
  })

  it('name their mail: INBOX, SENT, ARCHIVE, or as they are called', async () => {
    await using box = await synced(0)
    const where = { inbox: 'INBOX', sentitems: 'SENT', archive: 'ARCHIVE', 'Projects/Älpha': 'Älpha' }
    const ids = Object.keys(where).map((folder) => box.sim.mutate({ type: 'deliver', folder, ...world }))
    await box.driver.poll()
    assert.deepEqual(
      ids.map((id) => labelsOf(box, id)),
      Object.values(where),
    )
  })

  it('name mail that was fetched singly by the folder it lies in', async () => {
    await using box = await synced(0)
    box.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault: { type: 'partialItems' } })
    const id = box.sim.mutate({ type: 'deliver', folder: 'Projects', ...world })
    await box.driver.poll()
    assert.equal(labelsOf(box, id), 'Projects')
    assertTruth(box.sim, box.driver, 'microsoft')
  })

  it('get a lane when they are made', async () => {
    await using box = await synced(5)
    box.sim.mutate({ type: 'createFolder', name: 'Later', ...world })
    const id = box.sim.mutate({ type: 'deliver', folder: 'Later', ...world })
    await box.driver.poll()
    assert.equal(labelsOf(box, id), 'Later')
    assert.equal(lanesOf(box).length, 6)
    assertTruth(box.sim, box.driver, 'microsoft')
  })

  it('lose their lane, with all below, when they are moved to the bin', async () => {
    await using box = await synced(40)
    const before = box.driver.emitted.length
    box.sim.mutate({ type: 'deleteFolder', folder: 'Projects', ...world })
    await box.driver.poll()
    assert.equal(lanesOf(box).length, 3)
    assert.equal(box.driver.emitted.length, before)
    assertTruth(box.sim, box.driver, 'microsoft')
  })

  it('lose their refill with it: what lies in the bin is not fetched as if it were mail', async () => {
    await using box = await synced(40)
    box.driver.loseRows()
    const refills = () => Object.keys(box.driver.state().lanes).filter(isRefill).length
    const before = refills()
    box.sim.mutate({ type: 'deleteFolder', folder: 'Projects', ...world })
    const binned = box.sim.mutate({ type: 'deliver', folder: 'deleteditems/Projects', ...world })
    box.driver.interval()
    await box.driver.step('folders')
    assert.ok(refills() < before)
    await box.driver.run()
    assert.ok(!box.driver.state().stored.includes(binned))
  })

  it('keep their lanes and positions when the tree has to be read again', async () => {
    await using box = await synced(40)
    const was = Object.keys(box.driver.state().lanes).sort()
    const cursors = lanesOf(box).map((lane) => box.driver.state().lanes[lane]?.cursor)
    const match = { route: 'graph.mailFolders.delta', nth: 1 }
    box.sim.faults.add({ match, fault: { type: 'expireDelta', code: 'SyncStateNotFound' } })
    const before = box.sim.log().length
    box.driver.interval()
    await box.driver.step('folders')
    assert.equal(box.driver.seen.gone, 1)
    await box.driver.step('folders')
    assert.deepEqual(Object.keys(box.driver.state().lanes).sort(), was)
    assert.deepEqual(
      lanesOf(box).map((lane) => box.driver.state().lanes[lane]?.cursor),
      cursors,
    )
    // The names of the well-known folders were kept as well: nothing was asked but the tree.
    const asked = box.sim.log().slice(before)
    assert.deepEqual([...new Set(asked.map(({ route }) => route))], ['graph.mailFolders.delta'])
  })

  it('cost one request each at an idle poll, and no message is fetched singly', async () => {
    await using box = await synced(120)
    const before = box.sim.log().length
    await box.driver.poll()
    const routes = box.sim
      .log()
      .slice(before)
      .map(({ route }) => route)
    assert.equal(routes.filter((route) => route === 'graph.mailFolders.delta').length, 1)
    assert.equal(routes.filter((route) => route === 'graph.messages.delta').length, 5)
    assert.equal(routes.length, 6)
    assert.equal(box.sim.log().filter(({ route }) => route === 'graph.messages.get').length, 0)
  })

  it('do not decide about a single message before the tree is known', async () => {
    await using box = await bench(OUTLOOK, 5)
    box.driver.state().lanes.drain = { cursor: null, done: true }
    box.driver.state().queue.push('AAk=')
    await assert.rejects(box.driver.ask('drain'), {
      kind: 'transient',
      facts: { operation: 'graph.messages.get', code: 'FOLDERS_UNKNOWN' },
    })
  })
})
