{{- define "btcpool-exporter.probe" -}}
{{- $web := .root.Values.web -}}
{{- /* By its whole path: an image made from nothing names no PATH. */}}
{{- if and $web.existingSecret (eq $web.probes "exec") }}
exec:
  command:
    - /usr/bin/btcpool-exporter
    - health
    - --web.listen-address=:10058
    - --web.config.file=/etc/btcpool-exporter/web/{{ $web.key }}
{{- else }}
httpGet:
  path: {{ .path }}
  port: http
  {{- if and $web.existingSecret (eq $web.probes "https") }}
  scheme: HTTPS
  {{- end }}
{{- end }}
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: 3
{{- end -}}

{{- /* The template of every pod, whether a Deployment's or a StatefulSet's. */ -}}
{{- define "btcpool-exporter.pod" -}}
{{- $keys := include "btcpool-exporter.keysSecret" . -}}
{{- $sharded := include "btcpool-exporter.sharded" . -}}
metadata:
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  labels:
    {{- include "btcpool-exporter.selectorLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "btcpool-exporter.serviceAccountName" . }}
  # The exporter never asks Kubernetes anything.
  automountServiceAccountToken: false
  enableServiceLinks: false
  # The exporter is gone within 10 s, also in the middle of a stalled request.
  terminationGracePeriodSeconds: 15
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: exporter
      image: {{ include "btcpool-exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- if .Values.demo }}
        - demo
        {{- else }}
        - --config.file=/etc/btcpool-exporter/btcpool.yml
        # In place of a restart at every change: the data and the counters stay, and a configuration that is not valid
        # changes nothing.
        - --config.enable-auto-reload
        {{- end }}
        - --web.listen-address=:10058
        {{- if .Values.web.existingSecret }}
        - --web.config.file=/etc/btcpool-exporter/web/{{ .Values.web.key }}
        {{- end }}
        - --log.level={{ .Values.log.level }}
        - --log.format={{ .Values.log.format }}
        {{- range .Values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      {{- if or $sharded .Values.ca.configMap .Values.ca.secret .Values.extraEnv }}
      env:
        {{- if $sharded }}
        - name: BTCPOOL__SHARD__INDEX
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
        - name: BTCPOOL__SHARD__COUNT
          value: {{ .Values.shards | quote }}
        {{- end }}
        {{- if or .Values.ca.configMap .Values.ca.secret }}
        - name: SSL_CERT_FILE
          value: /etc/btcpool-exporter/ca/{{ .Values.ca.key }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - name: http
          containerPort: 10058
          protocol: TCP
      # No startup probe: the exporter listens within a second, and none of its paths waits for the pool's health.
      livenessProbe:
        {{- include "btcpool-exporter.probe" (dict "root" . "path" "/-/healthy") | trim | nindent 8 }}
      readinessProbe:
        {{- include "btcpool-exporter.probe" (dict "root" . "path" "/-/ready") | trim | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or (not .Values.demo) $keys .Values.web.existingSecret .Values.ca.configMap .Values.ca.secret .Values.extraVolumeMounts }}
      volumeMounts:
        {{- if not .Values.demo }}
        # The directory, not the file alone: a file that is mounted by itself is never brought up to date.
        - name: config
          mountPath: /etc/btcpool-exporter
          readOnly: true
        {{- end }}
        {{- if $keys }}
        - name: keys
          mountPath: /etc/btcpool-exporter/keys
          readOnly: true
        {{- end }}
        {{- if .Values.web.existingSecret }}
        - name: web
          mountPath: /etc/btcpool-exporter/web
          readOnly: true
        {{- end }}
        {{- if .Values.web.certificateSecret }}
        - name: certificate
          mountPath: /etc/btcpool-exporter/certificate
          readOnly: true
        {{- end }}
        {{- if or .Values.ca.configMap .Values.ca.secret }}
        - name: ca
          mountPath: /etc/btcpool-exporter/ca
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
  {{- if or (not .Values.demo) $keys .Values.web.existingSecret .Values.ca.configMap .Values.ca.secret .Values.extraVolumes }}
  volumes:
    {{- if not .Values.demo }}
    - name: config
      configMap:
        name: {{ include "btcpool-exporter.fullname" . }}
    {{- end }}
    {{- if $keys }}
    # The files are root's, so the group has to be able to read them: 0400 would become 0440 by fsGroup all the same.
    - name: keys
      secret:
        secretName: {{ $keys }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.web.existingSecret }}
    - name: web
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.web.certificateSecret }}
    - name: certificate
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.ca.configMap }}
    - name: ca
      configMap:
        name: {{ . }}
    {{- end }}
    {{- with .Values.ca.secret }}
    - name: ca
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        # A Secret that holds a certificate holds its private key, too.
        items:
          - key: {{ $.Values.ca.key }}
            path: {{ $.Values.ca.key }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
