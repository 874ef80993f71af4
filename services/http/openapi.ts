/** OpenAPI 3.1 of the bridge, derived from the contract. It states nothing that the contract does not say. */
import { toJsonSchema } from '@valibot/to-json-schema'
import { CONTRACT, HTTP_ERRORS, type Operation } from '#shared/contract.ts'
import { ERRORS, type ErrorCode } from '#shared/errors.ts'
import { OPERATIONS } from '#shared/subjects.ts'

type Json = Record<string, unknown>
const json = (schema: Json, example?: unknown): Json => ({
  'application/json': { schema, ...(example === undefined ? {} : { example }) },
})
const schemaOf = (schema: Operation['request'], typeMode: 'input' | 'output'): Json => {
  const { $schema: _, ...rest } = toJsonSchema(schema, { target: 'draft-2020-12', typeMode })
  return rest
}
const ERROR_SCHEMA: Json = { $ref: '#/components/schemas/Error' }

/** Status → one response that lists its codes. */
function errorResponses(codes: readonly ErrorCode[]): Json {
  const byStatus = Map.groupBy(new Set(codes), (code) => ERRORS[code].status)
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: group.map((code) => `\`${code}\`: ${ERRORS[code].message}`).join('\n'),
        headers: { 'x-request-id': { $ref: '#/components/headers/RequestId' } },
        content: json(ERROR_SCHEMA),
      },
    ]),
  )
}

function operationObject(operation: Operation): Json {
  const post = operation.http.method === 'POST'
  const own: readonly ErrorCode[] = HTTP_ERRORS.filter((code) => code !== 'UNSUPPORTED_MEDIA_TYPE' || post)
  return {
    operationId: operation.name,
    summary: operation.description,
    security: [{ userToken: [] }],
    ...(post
      ? {
          requestBody: {
            required: true,
            content: json(schemaOf(operation.request, 'input'), operation.example.request),
          },
        }
      : {}),
    responses: {
      200: {
        description: 'Done',
        headers: { 'x-request-id': { $ref: '#/components/headers/RequestId' } },
        content: json(schemaOf(operation.reply, 'output'), operation.example.reply),
      },
      ...errorResponses([...operation.errors, ...own]),
    },
  }
}

const plain = (summary: string, contentType: string, failing: boolean): Json => ({
  get: {
    summary,
    responses: {
      200: { description: 'OK', content: { [contentType]: {} } },
      ...(failing ? errorResponses(['NO_INSTANCE']) : {}),
    },
  },
})

/** The document that `/openapi.json` serves. */
export function openApi(version: string): Json {
  const operations = OPERATIONS.map((name) => CONTRACT[name])
  return {
    openapi: '3.1.0',
    info: {
      title: 'mail-sync',
      version,
      description: 'Connects mailboxes of a user and shows their sync. The same operations are NATS endpoints.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: {
      ...Object.fromEntries(
        operations.map((operation) => [
          operation.http.path,
          { [operation.http.method.toLowerCase()]: operationObject(operation) },
        ]),
      ),
      '/healthz': plain('The bridge runs.', 'application/json', false),
      '/readyz': plain('NATS is connected and an instance answers.', 'application/json', true),
      '/metrics': plain('Metrics of the bridge and of each instance.', 'text/plain', false),
      '/openapi.json': plain('This document.', 'application/json', false),
    },
    components: {
      securitySchemes: { userToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      headers: {
        RequestId: {
          description: 'Id of the request in logs and errors; taken over when sent.',
          schema: { type: 'string' },
        },
      },
      schemas: {
        Error: {
          type: 'object',
          required: ['error'],
          properties: {
            error: {
              type: 'object',
              required: ['code', 'message', 'hint', 'details', 'request_id'],
              properties: {
                code: { enum: Object.keys(ERRORS) },
                message: { type: 'string' },
                hint: { type: 'string' },
                details: { type: 'object' },
                request_id: { type: 'string' },
              },
            },
          },
        },
      },
    },
  }
}
