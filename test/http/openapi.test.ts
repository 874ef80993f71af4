import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { CONTRACT } from '#shared/contract.ts'
import { AppError, ERRORS, errorBody } from '#shared/errors.ts'
import { OPERATIONS } from '#shared/subjects.ts'
import { openApi } from '../../services/http/openapi.ts'

type Content = { 'application/json': { schema: object; example?: unknown } }
type Operation = {
  requestBody?: { content: Content }
  responses: Record<string, { description: string; content: Content }>
}
type Document = {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: { Error: object } }
}
const document = openApi('0.1.0') as unknown as Document
const operationOf = (name: (typeof OPERATIONS)[number]): Operation => {
  const { method, path } = CONTRACT[name].http
  const found = document.paths[path]?.[method.toLowerCase()]
  assert.ok(found)
  return found
}
const ajv = new Ajv2020({ strict: true, allErrors: true })

test('each operation is there with schemas under which its examples are valid', () => {
  assert.equal(document.openapi, '3.1.0')
  for (const name of OPERATIONS) {
    const { requestBody, responses } = operationOf(name)
    const reply = responses[200]?.content['application/json']
    assert.ok(reply)
    assert.ok(ajv.validate(reply.schema, CONTRACT[name].example.reply), ajv.errorsText())
    if (requestBody === undefined) assert.equal(CONTRACT[name].http.method, 'GET')
    else {
      const { schema } = requestBody.content['application/json']
      assert.ok(ajv.validate(schema, CONTRACT[name].example.request), ajv.errorsText())
      assert.equal(ajv.validate(schema, { provider: 'google', surprise: 1 }), false, 'unknown keys are refused')
    }
  }
})

test('each error of an operation is named under its status, and its body is valid', () => {
  for (const name of OPERATIONS)
    for (const code of CONTRACT[name].errors) {
      const response = operationOf(name).responses[ERRORS[code].status]
      assert.match(response?.description ?? '', new RegExp(`\`${code}\``))
      const body = errorBody(new AppError(code), 'id')
      assert.ok(ajv.validate(document.components.schemas.Error, body), ajv.errorsText())
    }
})
