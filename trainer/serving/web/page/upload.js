// Sends a file to the server.

// An error to show: a sentence, and what was received (may be empty).
class Problem extends Error {
  constructor(message, detail = "") {
    super(message);
    this.detail = detail;
  }
}

// POSTs a file. Resolves with the answer: an object, or a Blob for responseType "blob". Rejects with a Problem, and
// never settles after an abort of signal. onProgress is called with the share that has been sent, 0 to 1.
function send(path, file, { responseType = "json", signal, onProgress = () => {} }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = responseType;
    request.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 1);
    request.upload.onload = () => onProgress(1);
    request.onload = async () => {
      if (request.status === 200 && request.response) resolve(request.response);
      else reject(await problemOf(request));
    };
    request.onerror = () =>
      reject(new Problem("The file could not be sent. Is it still there, and is the server still running?"));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

async function problemOf(request) {
  let answer = request.response;
  try {
    if (answer instanceof Blob) answer = JSON.parse(await answer.text());
    return new Problem(answer.error.message, answer.error.detail);
  } catch {
    return new Problem("The server gave an answer that this page does not understand.", `status ${request.status}`);
  }
}

// Throws a Problem before a file is sent that the server would refuse.
function checkSize(file, mostBytes) {
  if (file.size > mostBytes) {
    throw new Problem(
      `The file is larger than ${mostBytes / 1e6} MB. Choose a shorter or a compressed one, or start the page with a ` +
        "larger --max_upload_mb.",
      `${(file.size / 1e6).toFixed(1)} MB`,
    );
  }
}
