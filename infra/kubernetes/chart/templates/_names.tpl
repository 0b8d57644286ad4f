{{- define "topshelf.labels" -}}
app.kubernetes.io/name: topshelf-endpoint
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "topshelf.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "topshelf.store" -}}
{{- if eq .Values.store.kind "lmdb" }}lmdb:///data/store{{ else }}{{ .Values.store.url }}{{ end }}
{{- end }}
{{- define "topshelf.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}
{{- /* A container that brings the files of this host to the archive's live version. */}}
{{- define "topshelf.mirror" -}}
image: {{ include "topshelf.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [.venv/bin/python, -m, serving.stores.mirror]
args:
  - --archive
  - {{ required "store.archive: name s3://BUCKET/PREFIX, from which hosts with LMDB are filled" .root.Values.store.archive | quote }}
  - --store
  - {{ include "topshelf.store" .root | quote }}
  {{- if .every }}
  - --every
  - {{ .root.Values.store.every_s | quote }}
  {{- end }}
{{- with .root.Values.environment }}
env:
  {{- range $name, $value := . }}
  - { name: {{ $name }}, value: {{ $value | quote }} }
  {{- end }}
{{- end }}
{{- with .root.Values.secrets.environment }}
envFrom:
  - secretRef: { name: {{ . }} }
{{- end }}
resources:
  requests: { cpu: 100m, memory: 256Mi }
  limits: { memory: 1Gi }
securityContext:
  {{- include "topshelf.confined" . | nindent 2 }}
volumeMounts:
  - { name: store, mountPath: /data/store }
  - { name: tmp, mountPath: /tmp }
{{- end }}
