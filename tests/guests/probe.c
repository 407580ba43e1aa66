// A capsule for tests: the path says how it behaves, well or badly. wasi:http 0.2 in C, without a libc.
//
// A component speaks the canonical ABI. What matters of it here: a resource is an int handle, a string
// or a list is (pointer, length), and a result that does not fit one int is written where the last
// argument points. `ret` is that place: first the tag (0 = ok, or none; 1 = an error, or some), then what
// it holds: one int further, or 8 bytes further where a wasi:http error-code may stand there.
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
#define ENVIRONMENT "wasi:cli/environment@0.2.0"
#define CLOCK "wasi:clocks/monotonic-clock@0.2.0"
#define POLL "wasi:io/poll@0.2.0"
#define STREAMS "wasi:io/streams@0.2.0"
#define HTTP "wasi:http/types@0.2.0"

typedef struct { const char *at; size_t length; } text;
typedef struct { text key, value; } pair;
typedef struct { const pair *at; size_t count; } pairs;
#define TEXT(literal) ((text){literal, sizeof literal - 1})
#define TAG(place) (*(const uint8_t *)(place))

IMPORT(ENVIRONMENT, "get-environment") void get_environment(pairs *ret);
IMPORT("wasi:cli/stdout@0.2.0", "get-stdout") int get_stdout(void);
IMPORT("wasi:cli/stderr@0.2.0", "get-stderr") int get_stderr(void);
IMPORT(CLOCK, "now") uint64_t clock_now(void);
IMPORT(CLOCK, "subscribe-duration") int clock_subscribe(uint64_t ns);
IMPORT(POLL, "[method]pollable.block") void pollable_block(int pollable);
IMPORT(POLL, "[resource-drop]pollable") void pollable_drop(int pollable);
IMPORT(STREAMS, "[method]input-stream.blocking-read") void stream_read(int stream, uint64_t length, void *ret);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void stream_write(int stream, const char *bytes, size_t length, void *ret);
IMPORT(STREAMS, "[resource-drop]input-stream") void input_drop(int stream);
IMPORT(STREAMS, "[resource-drop]output-stream") void output_drop(int stream);
IMPORT(HTTP, "[constructor]fields") int fields_new(void);
IMPORT(HTTP, "[method]fields.append")
void fields_append(int fields, const char *name, size_t, const char *value, size_t, void *ret);
IMPORT(HTTP, "[method]fields.entries") void fields_entries(int fields, pairs *ret);
IMPORT(HTTP, "[resource-drop]fields") void fields_drop(int fields);
IMPORT(HTTP, "[method]incoming-request.method") void request_method(int request, void *ret);
IMPORT(HTTP, "[method]incoming-request.path-with-query") void request_path(int request, void *ret);
IMPORT(HTTP, "[method]incoming-request.authority") void request_authority(int request, void *ret);
IMPORT(HTTP, "[method]incoming-request.headers") int request_headers(int request);
IMPORT(HTTP, "[method]incoming-request.consume") void request_consume(int request, void *ret);
IMPORT(HTTP, "[method]incoming-body.stream") void incoming_stream(int body, void *ret);
IMPORT(HTTP, "[static]incoming-body.finish") int incoming_finish(int body);
IMPORT(HTTP, "[method]future-trailers.subscribe") int trailers_subscribe(int future);
IMPORT(HTTP, "[method]future-trailers.get") void trailers_get(int future, void *ret);
IMPORT(HTTP, "[constructor]outgoing-response") int response_new(int headers);
IMPORT(HTTP, "[method]outgoing-response.set-status-code") int response_status(int response, int status);
IMPORT(HTTP, "[method]outgoing-response.body") void response_body(int response, void *ret);
IMPORT(HTTP, "[static]response-outparam.set")
void respond(int out, int is_error, int response, int, int64_t, int, int, int, int);
IMPORT(HTTP, "[method]outgoing-body.write") void body_write(int body, void *ret);
IMPORT(HTTP, "[static]outgoing-body.finish") void body_finish(int body, int has_trailers, int trailers, void *ret);
IMPORT(HTTP, "[constructor]outgoing-request") int call_new(int headers);
IMPORT(HTTP, "[method]outgoing-request.set-scheme") int call_scheme(int request, int some, int scheme, int, int);
IMPORT(HTTP, "[method]outgoing-request.set-authority")
int call_authority(int request, int some, const char *authority, size_t);
IMPORT(HTTP, "[method]outgoing-request.set-path-with-query")
int call_path(int request, int some, const char *path, size_t);
IMPORT("wasi:http/outgoing-handler@0.2.0", "handle") void call_send(int request, int some, int options, void *ret);
IMPORT(HTTP, "[method]future-incoming-response.subscribe") int answer_subscribe(int future);
IMPORT(HTTP, "[method]future-incoming-response.get") void answer_get(int future, void *ret);
IMPORT(HTTP, "[method]incoming-response.status") int answer_status(int response);
IMPORT(HTTP, "[method]incoming-response.consume") void answer_consume(int response, void *ret);

enum { WRITE_MAX_BYTES = 4096, INTERNAL_ERROR = 38, STREAM_CLOSED = 1 };

// One place for every result, and memory that the host fills. A read of a body starts over at its mark.
static _Alignas(16) char ret[256];
static _Alignas(16) char arena[256 * 1024];
static size_t arena_used;
static volatile int never;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old, (void)old_size;
  size_t start = (arena_used + align - 1) & ~(align - 1);
  if (start > sizeof arena || size > sizeof arena - start) __builtin_trap();
  arena_used = start + size;
  return arena + start;
}

static int int_at(size_t offset) { return *(const int *)(ret + offset); }
static text text_at(size_t offset) { return *(const text *)(ret + offset); }
static void must(int good) { if (!good) __builtin_trap(); }

static int starts(text whole, text part) {
  if (part.length > whole.length) return 0;
  for (size_t i = 0; i < part.length; i++)
    if (whole.at[i] != part.at[i]) return 0;
  return 1;
}

static text after(text whole, text part) {
  return (text){whole.at + part.length, whole.length - part.length};
}

static uint32_t number(text digits) {
  uint32_t value = 0;
  for (size_t i = 0; i < digits.length && digits.at[i] >= '0' && digits.at[i] <= '9'; i++)
    value = value * 10 + (uint32_t)(digits.at[i] - '0');
  return value;
}

static text decimal(uint64_t value) {
  char *end = (char *)cabi_realloc(NULL, 0, 1, 20) + 20, *at = end;
  do *--at = (char)('0' + value % 10);
  while (value /= 10);
  return (text){at, (size_t)(end - at)};
}

// --- the answer -------------------------------------------------------------------------------------

typedef struct { int body, stream; } answer;

static void header(int fields, text name, text value) {
  fields_append(fields, name.at, name.length, value.at, value.length, ret);
}

static answer begin(int out, int status, int headers) {
  int response = response_new(headers);
  response_status(response, status);
  response_body(response, ret);
  answer open = {.body = int_at(4)};
  respond(out, 0, response, 0, 0, 0, 0, 0, 0);
  body_write(open.body, ret);
  open.stream = int_at(4);
  return open;
}

// Whether all of it went out: a client that left is no reason to trap, only to stop.
static int write_to(int stream, text rest) {
  while (rest.length > 0) {
    size_t part = rest.length < WRITE_MAX_BYTES ? rest.length : WRITE_MAX_BYTES;
    stream_write(stream, rest.at, part, ret);
    if (TAG(ret)) return 0;
    rest = (text){rest.at + part, rest.length - part};
  }
  return 1;
}

static void end(answer open, int has_trailers, int trailers) {
  output_drop(open.stream);
  body_finish(open.body, has_trailers, trailers, ret);
}

static void say(int out, int status, text words) {
  answer open = begin(out, status, fields_new());
  write_to(open.stream, words);
  end(open, 0, 0);
}

static void write_line(int stream, text name, text between, text value) {
  write_to(stream, name), write_to(stream, between), write_to(stream, value), write_to(stream, TEXT("\n"));
}

static void write_pairs(int stream, pairs all, text before, text between) {
  for (size_t i = 0; i < all.count; i++) {
    write_to(stream, before);
    write_line(stream, all.at[i].key, between, all.at[i].value);
  }
}

// --- what came in -----------------------------------------------------------------------------------

typedef struct { uint64_t size; int broken; } drained;

// Reads a body until it ends or breaks; copies it to `into` unless that is 0.
static drained drain(int body, int into) {
  incoming_stream(body, ret);
  must(!TAG(ret));
  int stream = int_at(4);
  drained all = {0};
  size_t mark = arena_used;
  for (;; arena_used = mark) {
    stream_read(stream, 65536, ret);
    all.broken = TAG(ret) && TAG(ret + 4) != STREAM_CLOSED;
    if (TAG(ret)) break;
    text part = text_at(4);
    all.size += part.length;
    if (into && !write_to(into, part)) break;
  }
  arena_used = mark;
  if (!all.broken) input_drop(stream);  // the error in it is its child
  return all;
}

static int consume(int request) {
  request_consume(request, ret);
  must(!TAG(ret));
  return int_at(4);
}

static pairs request_trailers(int body) {
  int future = incoming_finish(body), pollable = trailers_subscribe(future);
  pollable_block(pollable);
  pollable_drop(pollable);
  trailers_get(future, ret);
  if (TAG(ret) != 1 || TAG(ret + 8) || TAG(ret + 16) || TAG(ret + 24) != 1) return (pairs){0};
  pairs all;
  fields_entries(int_at(28), &all);
  return all;
}

static text method_of(int request) {
  static const text known[] = {{"GET", 3}, {"HEAD", 4}, {"POST", 4}, {"PUT", 3}, {"DELETE", 6},
                               {"CONNECT", 7}, {"OPTIONS", 7}, {"TRACE", 5}, {"PATCH", 5}};
  request_method(request, ret);
  return TAG(ret) < 9 ? known[TAG(ret)] : text_at(4);
}

static void echo(int request, int out) {
  text method = method_of(request);
  request_path(request, ret);
  text path = text_at(4);
  request_authority(request, ret);
  text authority = TAG(ret) ? text_at(4) : TEXT("");
  pairs headers;
  int fields = request_headers(request);
  fields_entries(fields, &headers);
  fields_drop(fields);
  answer open = begin(out, 200, fields_new());
  write_line(open.stream, method, TEXT(" "), path);
  write_line(open.stream, TEXT("authority"), TEXT(": "), authority);
  write_pairs(open.stream, headers, TEXT(""), TEXT(": "));
  write_to(open.stream, TEXT("\n"));
  int body = consume(request);
  drain(body, open.stream);
  write_pairs(open.stream, request_trailers(body), TEXT("trailer "), TEXT(": "));
  end(open, 0, 0);
}

// --- good behaviour ---------------------------------------------------------------------------------

static void stream(int out, uint32_t chunks) {
  static char chunk[WRITE_MAX_BYTES];
  for (size_t i = 0; i < sizeof chunk; i++) chunk[i] = 'x';
  answer open = begin(out, 200, fields_new());
  while (chunks-- > 0 && write_to(open.stream, (text){chunk, sizeof chunk})) {}
  end(open, 0, 0);
}

static void trailers(int out) {
  int headers = fields_new(), last = fields_new();
  header(headers, TEXT("trailer"), TEXT("x-sum"));
  header(last, TEXT("x-sum"), TEXT("42"));
  answer open = begin(out, 200, headers);
  write_to(open.stream, TEXT("body\n"));
  end(open, 1, last);
}

// One header of so many bytes.
static void wide(int out, uint32_t bytes) {
  int headers = fields_new();
  char *value = cabi_realloc(NULL, 0, 1, bytes);
  for (uint32_t i = 0; i < bytes; i++) value[i] = 'w';
  header(headers, TEXT("x-wide"), (text){value, bytes});
  end(begin(out, 200, headers), 0, 0);
}

static void forge(int out) {
  int headers = fields_new();
  header(headers, TEXT("falak-not-here"), TEXT("1"));
  header(headers, TEXT("x-mine"), TEXT("kept"));
  answer open = begin(out, 421, headers);
  write_to(open.stream, TEXT("not here, says the guest\n"));
  end(open, 0, 0);
}

static void wait_ms(uint32_t ms) {
  int pollable = clock_subscribe((uint64_t)ms * 1000000);
  pollable_block(pollable);
  pollable_drop(pollable);
}

static void spin_ms(uint32_t ms) {
  uint64_t until = clock_now() + (uint64_t)ms * 1000000;
  while (clock_now() < until)
    for (int i = 0; i < 10000; i++) never = i;
}

static void print(void) {
  static char wide[5000];
  for (size_t i = 0; i < sizeof wide; i++) wide[i] = 'w';
  int to_out = get_stdout(), to_err = get_stderr();
  write_to(to_out, TEXT("first line\nsecond "));
  write_to(to_err, TEXT("a complaint\n"));
  write_to(to_out, TEXT("line\n"));
  write_to(to_out, (text){wide, sizeof wide});
  write_to(to_out, TEXT("\nno newline at the end"));
}

static void upload(int request, int out) {
  drained all = drain(consume(request), 0);
  if (all.broken) return say(out, 400, TEXT("the body broke off\n"));
  say(out, 200, decimal(all.size));
}

// --- calls out --------------------------------------------------------------------------------------

static void report_error(int out, int code) {
  answer open = begin(out, 502, fields_new());
  write_line(open.stream, TEXT("error-code"), TEXT(" "), decimal((uint64_t)code));
  end(open, 0, 0);
}

// `where` is AUTHORITY or AUTHORITY/PATH; the answer is that of the place called.
static void outgoing(int out, text where) {
  size_t slash = 0;
  while (slash < where.length && where.at[slash] != '/') slash++;
  int request = call_new(fields_new());
  call_scheme(request, 1, 0, 0, 0);
  call_authority(request, 1, where.at, slash);
  call_path(request, 1, where.at + slash, where.length - slash);
  call_send(request, 0, 0, ret);
  if (TAG(ret)) return report_error(out, TAG(ret + 8));
  int future = int_at(8), pollable = answer_subscribe(future);
  pollable_block(pollable);
  pollable_drop(pollable);
  answer_get(future, ret);
  if (TAG(ret + 16)) return report_error(out, TAG(ret + 24));
  int response = int_at(24);
  answer open = begin(out, answer_status(response), fields_new());
  answer_consume(response, ret);
  drain(int_at(4), open.stream);
  end(open, 0, 0);
}

// --- bad behaviour ----------------------------------------------------------------------------------

static void loop(void) {
  for (;;) never++;
}

static void eat_memory(void) {
  for (;;) {
    int page = (int)__builtin_wasm_memory_grow(0, 16);
    if (page < 0) __builtin_trap();
    *(volatile char *)((size_t)page * 65536) = 1;
  }
}

static void half(int out, text how) {
  answer open = begin(out, 200, fields_new());
  write_to(open.stream, TEXT("the first half\n"));
  if (starts(how, TEXT("/loop"))) loop();
  if (starts(how, TEXT("/wait"))) wait_ms(3600000);
  __builtin_trap();
}

static void after_the_end(int out) {
  say(out, 200, TEXT("all of it\n"));
  __builtin_trap();
}

static void answer_well(int request, int out, text path) {
  if (starts(path, TEXT("/echo"))) return echo(request, out);
  if (starts(path, TEXT("/stream/"))) return stream(out, number(after(path, TEXT("/stream/"))));
  if (starts(path, TEXT("/status/"))) return say(out, (int)number(after(path, TEXT("/status/"))), TEXT("status\n"));
  if (starts(path, TEXT("/trailers"))) return trailers(out);
  if (starts(path, TEXT("/forge"))) return forge(out);
  if (starts(path, TEXT("/wide/"))) return wide(out, number(after(path, TEXT("/wide/"))));
  if (starts(path, TEXT("/outgoing?"))) return outgoing(out, after(path, TEXT("/outgoing?")));
  if (starts(path, TEXT("/upload"))) return upload(request, out);
  if (starts(path, TEXT("/stdout"))) print();
  if (starts(path, TEXT("/wait/"))) wait_ms(number(after(path, TEXT("/wait/"))));
  if (starts(path, TEXT("/spin/"))) spin_ms(number(after(path, TEXT("/spin/"))));
  if (starts(path, TEXT("/env"))) {
    pairs environment;
    get_environment(&environment);
    answer open = begin(out, 200, fields_new());
    write_pairs(open.stream, environment, TEXT(""), TEXT("="));
    return end(open, 0, 0);
  }
  say(out, 200, TEXT("hello\n"));
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(int request, int out) {
  request_path(request, ret);
  text path = TAG(ret) ? text_at(4) : TEXT("/");
  if (starts(path, TEXT("/trap"))) __builtin_trap();
  if (starts(path, TEXT("/loop"))) loop();
  if (starts(path, TEXT("/memory"))) eat_memory();
  if (starts(path, TEXT("/nothing"))) return;
  if (starts(path, TEXT("/after"))) return after_the_end(out);
  if (starts(path, TEXT("/half"))) return half(out, after(path, TEXT("/half")));
  if (starts(path, TEXT("/error"))) {
    text why = TEXT("the guest's own reason");
    return respond(out, 1, INTERNAL_ERROR, 1, (int64_t)(intptr_t)why.at, (int)why.length, 0, 0, 0);
  }
  answer_well(request, out, path);
}
