import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import { CONTRACT } from '#shared/contract.ts'
import { ERASE } from '#shared/erase.ts'
import { FLEET_EXAMPLE } from '#shared/fleet.ts'
import { INSPECT } from '#shared/inspect.ts'
import { REKEY_EXAMPLE } from '#shared/rekey.ts'
import { asSubject, eraseSubject, FLEET_SUBJECT, INSPECTIONS, OPERATIONS, REKEY_SUBJECT } from '#shared/subjects.ts'
import { mailctl } from './mailctl.ts'

type Payload = { payload: object }
type Document = { channels: Record<string, { address: string | null; messages: Record<string, Payload> }> }

const specification = createRequire(import.meta.url).resolve('@asyncapi/specs/schemas/3.0.0-without-$id.json')

test('mailctl contract prints AsyncAPI 3 that its specification accepts, with the examples of the contract', async () => {
  const ran = await mailctl(['contract'], {})
  assert.equal(ran.code, 0, ran.err)
  const document = JSON.parse(ran.out) as Document
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true })
  const valid = ajv.compile(JSON.parse(await readFile(specification, 'utf8')))
  assert.ok(valid(document), ajv.errorsText(valid.errors))
  assert.equal(valid({ ...document, channels: 7 }), false, 'the control: the specification refuses something')
  for (const name of OPERATIONS) {
    const [request, reply] = [document.channels[name], document.channels[`${name}Reply`]]
    assert.equal(request?.address, CONTRACT[name].subject)
    assert.ok(
      ajv.validate(request.messages.request?.payload ?? false, CONTRACT[name].example.request),
      ajv.errorsText(),
    )
    assert.ok(ajv.validate(reply?.messages.reply?.payload ?? false, CONTRACT[name].example.reply), ajv.errorsText())
  }
  for (const name of INSPECTIONS) {
    const { request, reply } = INSPECT[name].example
    const channel = document.channels[name]
    assert.equal(channel?.address, asSubject('x', name).replace('.x.', '.{user}.'))
    assert.ok(ajv.validate(channel?.messages.request?.payload ?? false, request), ajv.errorsText())
    assert.ok(
      ajv.validate(document.channels[`${name}Reply`]?.messages.reply?.payload ?? false, reply),
      ajv.errorsText(),
    )
  }
  const { fleet, fleetReply } = document.channels
  assert.equal(fleet?.address, FLEET_SUBJECT)
  assert.ok(ajv.validate(fleetReply?.messages.reply?.payload ?? false, FLEET_EXAMPLE), ajv.errorsText())
  assert.equal(ajv.validate(fleetReply?.messages.reply?.payload ?? true, {}), false)
  const { rekey, rekeyReply } = document.channels
  assert.equal(rekey?.address, REKEY_SUBJECT)
  assert.ok(ajv.validate(rekey?.messages.request?.payload ?? false, REKEY_EXAMPLE.request), ajv.errorsText())
  assert.ok(ajv.validate(rekeyReply?.messages.reply?.payload ?? false, REKEY_EXAMPLE.reply), ajv.errorsText())
  const { erase, eraseReply } = document.channels
  assert.equal(erase?.address, eraseSubject('x').replace('.x.', '.{user}.'))
  assert.ok(ajv.validate(eraseReply?.messages.reply?.payload ?? false, ERASE.example.reply), ajv.errorsText())
  const json = await mailctl(['contract', '--json'], {})
  assert.deepEqual([json.code, JSON.parse(json.out), json.err], [0, document, ''])
  assert.equal(json.out.trimEnd().split('\n').length, 1, 'with --json one value is one line')
})
